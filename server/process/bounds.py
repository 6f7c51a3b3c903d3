"""How many calls may come in, and when one more is too many."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from server.process.settings import Limits

FRESH_SECONDS = 0.05
"""Time in which the request of a call that has begun arrives, as a rule: with it."""
LATEST = 0.05
"""Share of the calls answered last in the pace."""
RELIEF = 0.2
"""Part of the patience after which a queue that was not full is a burst again. At less of it a server that is asked for
a tenth too much has a queue and a burst by turns; at more, one that could do a tenth more than it is asked for stays
crowded."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many calls may be inside the gate: being answered, or waiting for a thread that does.

    threads: those that answer calls. burst: calls that may wait, however long each takes; or as many as have their turn
    within burst_seconds, where that is more. queue: calls that may wait once calls have been waiting without a break
    for `patience` seconds, for then a queue is no burst and only makes all of them late.
    refusals: calls a second that are refused with RESOURCE_EXHAUSTED and a RetryInfo at most, 0 for none; the others
    wait in the C core, or are ended by it. retry_after: seconds, for the RetryInfo. request_seconds: time a caller has
    to send the request of a call that it has begun. stream_idle_seconds: time a stream may go without a request or a
    reply that was taken, 0 for any.
    """

    threads: int
    burst: int
    queue: int
    patience: float
    refusals: float
    retry_after: float
    request_seconds: float
    burst_seconds: float = 0.0
    streams: int = 32
    read_ahead: int = 64
    stream_idle_seconds: float = 60.0

    @classmethod
    def of(cls, limits: Limits, threads: int, read_ahead: int) -> Bounds:
        """The bounds that the settings ask for."""
        return cls(
            threads=threads,
            burst=limits.burst,
            queue=limits.queue,
            patience=limits.patience_seconds,
            refusals=limits.refusals_per_second,
            retry_after=limits.retry_after_seconds,
            request_seconds=limits.request_seconds,
            burst_seconds=limits.burst_seconds,
            streams=limits.streaming,
            read_ahead=read_ahead,
            stream_idle_seconds=limits.stream_idle_seconds,
        )


class Pace:
    """Seconds that a call takes a thread, of those that were answered last; 0 before the first."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def add(self, calls: int, seconds: float) -> None:
        """So many calls, side by side, took so long."""
        each = seconds / calls
        self.seconds += (each - self.seconds) * (LATEST if self.seconds else 1.0)


class Crowd:
    """Tells a queue that lasts from a burst.

    It lasts once calls have been waiting without a break for `patience` seconds, and until nobody found it full for a
    part of that time, in which there was a moment without work: a server that could do all it is asked for is full now
    and then too, but not for long, and a server that could not is never idle. How many wait does not tell: where few
    are let in, a thread takes them all at once, and none is left.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since = monotonic()  # when none waited, and once it lasts, when it was full
        self._idled = False
        self.lasting = False

    def empty(self) -> None:
        """No call waits."""
        if not self.lasting:
            self._since = monotonic()

    def full(self) -> None:
        """There is no room."""
        if self.lasting:
            self._since, self._idled = monotonic(), False

    def idle(self) -> None:
        """There is nothing to do."""
        self._idled = True

    def lasts(self) -> bool:
        """Whether it lasts now."""
        now = monotonic()
        if self.lasting:
            over = self._idled and now - self._since >= self._patience * RELIEF
        else:
            over = now - self._since >= self._patience
        if over:
            self.lasting, self._since, self._idled = not self.lasting, now, False
        return self.lasting


class Allowance:
    """So many things a second; of those that were not used, a tenth of a second's worth is kept."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second / 10) if per_second else 0.0
        self._kept = self._most
        self._at = monotonic()

    def left(self) -> int:
        """How many are left."""
        now = monotonic()
        self._kept = min(self._most, self._kept + (now - self._at) * self._per_second)
        self._at = now
        return int(self._kept)

    def spend(self) -> None:
        """Use one."""
        self._kept -= 1


C = TypeVar("C", bound=Hashable)


class Awaited(Generic[C]):
    """Calls that have begun and whose request has not arrived.

    patience: seconds after which one is overdue.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._fresh: dict[C, float] = {}
        self._late: dict[C, float] = {}

    def add(self, call: C) -> None:
        """The call has begun."""
        self._fresh[call] = monotonic()

    def remove(self, call: C) -> None:
        """Its request has arrived, or it is over."""
        if self._fresh.pop(call, None) is None:
            self._late.pop(call, None)

    def fresh(self) -> int:
        """How many began just now. Others do not count: whoever never sends a request must not keep others out."""
        now = monotonic()
        while self._fresh:
            call, since = next(iter(self._fresh.items()))
            if now - since <= FRESH_SECONDS:
                break
            self._late[call] = self._fresh.pop(call)
        return len(self._fresh)

    def overdue(self) -> list[C]:
        """Those whose time is over; each is told once."""
        self.fresh()
        over = []
        now = monotonic()
        while self._late:
            call, since = next(iter(self._late.items()))
            if now - since <= self._patience:
                break
            del self._late[call]
            over.append(call)
        return over
