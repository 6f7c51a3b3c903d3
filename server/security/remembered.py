"""Credentials that were checked before: a look-up instead of a signature."""

from __future__ import annotations

import threading

from server.security.roles import Principal


class Remembered:
    """Callers by a digest of what they showed; the oldest entry gives way where `limit` is reached.

    Belongs to one state of the files that credentials were checked against and goes with it, so that nothing checked
    against former files is found in the new state.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[bytes, Principal] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, digest: bytes, now: float) -> Principal | None:
        """The caller, None where it is not known or has expired at `now`, seconds since 1970."""
        found = self._known.get(digest)
        return found if found is not None and now < found.expires else None

    def put(self, digest: bytes, principal: Principal) -> None:
        """Remember the caller."""
        with self._lock:
            self._known.pop(digest, None)
            while len(self._known) >= self._limit:
                del self._known[next(iter(self._known))]
            self._known[digest] = principal
