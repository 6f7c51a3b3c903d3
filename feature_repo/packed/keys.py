"""Keys under which a row is kept: the values of its join keys, typed, in the order of their names."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value, ValueType

LONGEST = 400
"""Longest key in bytes that is kept as it is; LMDB takes 511 at most. A longer one is kept by its hash."""

SEVERAL = b"\xf0"
"""First byte of a key of several values, or of none; that of one value is the number of its type."""
HASHED = b"\xff"
"""First byte of a key that is kept by its hash."""

_PLAIN: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "string_val": (ValueType.STRING, str.encode),
    "bytes_val": (ValueType.BYTES, b"".__add__),  # unlike `bytes`, takes no number
    "int32_val": (ValueType.INT32, struct.Struct("<i").pack),
    "int64_val": (ValueType.INT64, struct.Struct("<q").pack),
    "unix_timestamp_val": (ValueType.UNIX_TIMESTAMP, struct.Struct("<q").pack),
}


def entity_key(key: EntityKey) -> bytes:
    """Key of a row by Feast's entity key. Raises ValueError where a join key's type cannot be one."""
    names = list(key.join_keys)
    values: list[Value] = list(key.entity_values)
    if len(names) > 1:
        pairs = sorted(zip(names, values, strict=True), key=lambda pair: pair[0])
        names, values = [n for n, _ in pairs], [v for _, v in pairs]
    parts = []
    for name, value in zip(names, values, strict=True):
        kind = value.WhichOneof("val")
        if kind not in _PLAIN:
            raise ValueError(f"join key {name}: a value of type {kind} cannot be a key")
        parts.append((kind, getattr(value, kind)))
    return _joined(parts)


def keys_of(kinds: Sequence[str], ids: Sequence[Any]) -> list[bytes]:
    """Keys of rows by plain values: one each where the view has one join key, else a tuple in `kinds`' order.

    kinds: members of Feast's `Value`, of the join keys in the order of their names. Raises TypeError or ValueError
    where a value is of another type.
    """
    try:
        if len(kinds) != 1:
            return [_joined(list(zip(kinds, values, strict=True))) for values in ids]
        keys = _of_texts(ids) if kinds[0] == "string_val" else None
        if keys is None:
            code, encode = _PLAIN[kinds[0]]
            prefix = bytes([code])
            keys = [prefix + encode(value) for value in ids]
    except struct.error as error:
        raise TypeError(f"an id is not of {', '.join(kinds)}: {error}") from error
    return keys if max(map(len, keys), default=0) <= LONGEST else [_short(key) for key in keys]


def _of_texts(ids: Sequence[str]) -> list[bytes] | None:
    """Keys of texts, encoded all at once, in half the time; None where a text has a line break in it."""
    prefix = chr(ValueType.STRING)
    keys = (prefix + ("\n" + prefix).join(ids)).encode().split(b"\n")
    return keys if len(keys) == len(ids) else None


def _joined(parts: Sequence[tuple[str, Any]]) -> bytes:
    encoded = []
    for kind, value in parts:
        code, encode = _PLAIN[kind]
        encoded.append((code, encode(value)))
    if len(encoded) == 1:
        return _short(bytes([encoded[0][0]]) + encoded[0][1])
    return _short(SEVERAL + b"".join(struct.pack("<BI", code, len(value)) + value for code, value in encoded))


def _short(key: bytes) -> bytes:
    return key if len(key) <= LONGEST else HASHED + hashlib.blake2b(key, digest_size=32).digest()
