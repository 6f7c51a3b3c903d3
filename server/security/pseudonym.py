"""User ids as logs and telemetry may show them: a keyed hash, the same for the same user, that nobody can turn back."""

from __future__ import annotations

import os
from hashlib import blake2b

from server.security.reloaded import content
from server.security.settings import Security
from shoprank.errors import UserError

MIN_KEY_BYTES = 16
MAX_KEY_BYTES = 64
"""BLAKE2b's limit (RFC 7693)."""
DIGEST_BYTES = 10


class Pseudonyms:
    """Pseudonyms under one key, 16 to 64 bytes.

    >>> Pseudonyms(bytes(16)).of("alice") == Pseudonyms(bytes(16)).of("alice") != "alice"
    True
    """

    def __init__(self, key: bytes) -> None:
        if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
            raise UserError(f"the key of pseudonyms has {len(key)} bytes, not {MIN_KEY_BYTES} to {MAX_KEY_BYTES}")
        self._key = key

    def of(self, user_id: str) -> str:
        """The user's pseudonym: `u_` and 20 hexadecimal digits."""
        return f"u_{blake2b(user_id.encode(), key=self._key, digest_size=DIGEST_BYTES).hexdigest()}"


def new_key() -> bytes:
    """A key for those who have no file of one."""
    return os.urandom(32)


def pseudonyms(security: Security, made: bytes | None = None) -> Pseudonyms:
    """Pseudonyms under the key of the settings' file; where there is none, under `made`, or one made now.

    Raises UserError for a bad file.
    """
    if security.pseudonym_key is None:
        return Pseudonyms(made or new_key())
    return Pseudonyms(content(security.pseudonym_key, MAX_KEY_BYTES))
