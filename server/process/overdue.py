"""Ends the calls of those who let their time pass: to send the request they began, to go on with a stream."""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic, sleep

from server.process.bounds import Awaited, Bounds
from server.process.context import Context
from server.process.stream import Stream
from server.process.turn import step_aside

LOOK_SECONDS = 0.5
"""Time between two looks."""

HEARING_SECONDS = 0.002
"""Time in which another thread hears which callers have gone."""


def watch_late(calls: Collection[Context]) -> None:
    """Find out which callers have gone, of calls that waited long with all threads busy and nobody watching them."""
    if sum(call.watch() for call in calls):  # every one of them
        step_aside()
        sleep(HEARING_SECONDS)


class Overdue:
    """Looks over calls that have begun without their request, and streams that nothing moves.

    awaited: the former. streams: the latter, as they are.
    """

    def __init__(self, bounds: Bounds, awaited: Awaited[Context], streams: Collection[Stream]) -> None:
        self._idle = bounds.stream_idle_seconds
        self._awaited = awaited
        self._streams = streams
        self._next = monotonic()

    def due(self) -> bool:
        """Whether it is time for a look."""
        return monotonic() >= self._next

    def end(self) -> None:
        """End calls whose request is late, and streams that are idle. The server's lock is held."""
        now = monotonic()
        self._next = now + LOOK_SECONDS
        for call in self._awaited.overdue():
            call.cancel()
        if self._idle:
            for stream in [*self._streams]:
                stream.end_if_idle(now - self._idle)
