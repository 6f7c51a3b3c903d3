"""Static keys: high-entropy secrets of which the server knows the SHA-256 alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from server.security.principals import Key, Principals
from server.security.reloaded import Reloaded
from server.security.remembered import Remembered
from server.security.roles import Principal, Role
from shoprank.errors import Unauthenticated, UserError

PREFIX = "srk_"
"""What every key begins with, so that scanners of code and logs can find one."""
RANDOM_BYTES = 32


class _State:
    """The keys of one state of the file."""

    def __init__(self, file: Path, remembered: int) -> None:
        self.known = [(bytes.fromhex(key.sha256), key.principal("key")) for key in Principals.read(file).key]
        self.remembered = Remembered(remembered)


class StaticKeys:
    """Knows callers by the keys of a file, which is read again when it changes. Raises UserError where it is bad."""

    def __init__(self, file: Path, remembered: int) -> None:
        self._state = Reloaded([file], lambda: _State(file, remembered))

    def principal(self, key: str, now: float) -> Principal:
        """Whose key it is. now: seconds since 1970. Raises Unauthenticated for a key that is unknown or expired."""
        state = self._state.value
        digest = hashlib.sha256(key.encode()).digest()
        if known := state.remembered.get(digest, now):
            return known
        found: Principal | None = None
        for expected, principal in state.known:  # all of them, so that the time taken says nothing of which is near
            if hmac.compare_digest(expected, digest):
                found = principal
        if found is None:
            raise Unauthenticated("the key is not known")
        if now >= found.expires:
            raise Unauthenticated("the key has expired")
        state.remembered.put(digest, found)
        return found


def new_key(file: Path, name: str, roles: Sequence[Role], expires: datetime | None) -> str:
    """Make a key, add its hash to the file, which may be new, and return the key: it is kept nowhere.

    Raises UserError for a name that is bad or in the file already, and for a file that cannot be read or written.
    """
    principals = Principals.read(file) if file.exists() else Principals()
    if name in {key.name for key in principals.key}:
        raise UserError(f"{file}: has a key of the name {name}; remove that entry, or take another name")
    key = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    try:
        entry = Key(name=name, sha256=hashlib.sha256(key.encode()).hexdigest(), roles=frozenset(roles), expires=expires)
    except ValueError as error:
        raise UserError(f"name {name!r}, roles {list(roles)}: {error}") from error
    _append(file, _as_toml(entry))
    return key


def _as_toml(key: Key) -> str:
    roles = ", ".join(f'"{role}"' for role in sorted(key.roles))
    lines = ["[[key]]", f'name = "{key.name}"', f'sha256 = "{key.sha256}"', f"roles = [{roles}]"]
    if key.expires is not None:
        aware = key.expires if key.expires.tzinfo else key.expires.replace(tzinfo=UTC)
        lines.append(f"expires = {aware.isoformat()}")
    return "\n".join(lines) + "\n"


def _append(file: Path, entry: str) -> None:
    """Write the file anew with the entry at its end and rename it into place, so that no reader sees half of it."""
    try:
        before = file.read_text() if file.exists() else ""
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as staged:
            staged.write(f"{before.rstrip()}\n\n{entry}" if before.strip() else entry)
        if file.exists():
            Path(staged.name).chmod(file.stat().st_mode & 0o777)
        Path(staged.name).replace(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
