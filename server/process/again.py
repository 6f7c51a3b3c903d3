"""Something to be done again soon, of which no event says when."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock, Timer


class Again:
    """Does it once after so many seconds, holding the lock, however often it is asked for meanwhile.

    `soon` is called with the lock held.
    """

    def __init__(self, lock: RLock, seconds: float, what: Callable[[], None]) -> None:
        self._lock = lock
        self._seconds = seconds
        self._what = what
        self._timer: Timer | None = None

    def soon(self) -> None:
        """Ask for it."""
        if self._timer is None:
            self._timer = Timer(self._seconds, self._now)
            self._timer.daemon = True
            self._timer.start()

    def _now(self) -> None:
        with self._lock:
            self._timer = None
            self._what()
