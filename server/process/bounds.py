"""How many calls may come in, and when one more is too many."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from server.process.settings import Limits

FRESH_SECONDS = 0.05
"""Time in which the request of a call that has begun arrives, as a rule: with it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many calls may be inside the gate: being answered, or waiting for a thread that does.

    threads: those that answer calls. burst: calls that wait at most. queue: calls that wait at most once calls have
    been waiting without a break for `patience` seconds, for then a queue is no burst and only makes all of them late.
    refusals: calls a second that are refused with RESOURCE_EXHAUSTED and a RetryInfo at most, 0 for none; the others
    wait in the C core, or are ended by it. retry_after: seconds, for the RetryInfo. request_seconds: time a caller has
    to send the request of a call that it has begun.
    """

    threads: int
    burst: int
    queue: int
    patience: float
    refusals: float
    retry_after: float
    request_seconds: float
    streams: int = 32
    read_ahead: int = 64

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
            streams=limits.streaming,
            read_ahead=read_ahead,
        )


class Crowd:
    """Tells a queue that lasts from a burst.

    It lasts once calls have been waiting without a break for `patience` seconds, and until fewer than `queue` have been
    waiting at every look for ten times as long.
    """

    def __init__(self, queue: int, patience: float) -> None:
        self._queue = queue
        self._patience = patience
        self._since: float | None = None
        self._crowded: float | None = None

    def lasts(self, waiting: int) -> bool:
        """Whether it lasts, now that so many calls are waiting."""
        if waiting <= 0 and self._crowded is None:
            self._since = None
            return False
        now = monotonic()
        if self._crowded is not None:
            if waiting >= self._queue:
                self._crowded = now
            elif now - self._crowded > 10 * self._patience:
                self._crowded = self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since > self._patience:
            self._crowded = now
        return self._crowded is not None


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
        over = []
        now = monotonic()
        while self._late:
            call, since = next(iter(self._late.items()))
            if now - since <= self._patience:
                break
            del self._late[call]
            over.append(call)
        return over
