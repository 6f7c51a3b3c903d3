"""Names of what packed records are in Redis: rows, and what is kept beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from feature_repo.packed.keys import HASHED
from feature_repo.packed.redis_mget import Around

PREFIX = b"sr1"


def redis_keys(table: str, keys: Sequence[bytes]) -> list[bytes]:
    """Keys of rows. The part in braces decides a cluster's slot: rows of one entity lie together, whatever the view."""
    before, middles, after = around(table, keys)
    return [before + key + after for key in middles]


def around(table: str, keys: Sequence[bytes]) -> Around:
    """Keys of rows, in three parts."""
    if b"}" in b"".join(keys):  # a brace in an id must not decide: it would gather unlike ids in one slot
        keys = [
            HASHED + hashlib.blake2b(key, digest_size=32).hexdigest().encode() if b"}" in key else key for key in keys
        ]
    return PREFIX + b":{", keys, b"}:" + table.encode()


def meta(kind: bytes, name: bytes) -> bytes:
    """Key of what is kept beside the rows, such as a layout."""
    return PREFIX + b":" + kind + b":" + name


def version_key(table: str) -> bytes:
    """Key of a table's version; the table in braces puts it into one slot with the writes."""
    return meta(b"version", b"{" + table.encode() + b"}")


def writes_key(table: str) -> bytes:
    """Key of the last writes of a table."""
    return meta(b"writes", b"{" + table.encode() + b"}")


def escaped(text: bytes) -> bytes:
    """The text as a pattern of Redis that matches it alone."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]^\\-" else bytes([c]) for c in text)
