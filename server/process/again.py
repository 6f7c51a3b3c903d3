"""Something to be done again soon, of which no event says when."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, RLock, Thread
from time import sleep

log = logging.getLogger(__name__)

UNUSED_SECONDS = 1.0
"""Time after which the thread that does it ends, where nobody asked for it meanwhile."""


class Again:
    """Does it once after so many seconds, holding the lock, however often it is asked for meanwhile.

    `soon` is called with the lock held. One thread does it, as long as it is asked for time and again: to begin a
    thread each time costs as much as several calls do.
    """

    def __init__(self, lock: RLock, seconds: float, what: Callable[[], None]) -> None:
        self._lock = lock
        self._seconds = seconds
        self._what = what
        self._asked = Event()
        self._thread: Thread | None = None

    def soon(self) -> None:
        """Ask for it."""
        if not self._asked.is_set():
            self._asked.set()
            if self._thread is None:
                self._thread = Thread(target=self._run, name="again", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._asked.wait(UNUSED_SECONDS)
            with self._lock:
                if not self._asked.is_set():
                    self._thread = None
                    return
            sleep(self._seconds)
            with self._lock:
                self._asked.clear()
                try:
                    self._what()
                except Exception:
                    log.exception("what was to be done again failed")
