"""What is known of the call that a thread is answering: who asks, and how long each phase of the answer took."""

from __future__ import annotations

from contextvars import ContextVar
from time import perf_counter
from typing import Final, Literal

from server.process.rate import Client

Phase = Literal["parse", "features", "retrieval", "inference", "rules", "reply"]
PHASES: Final[tuple[Phase, ...]] = ("parse", "features", "retrieval", "inference", "rules", "reply")


class Call:
    """One call, from its arrival in a handler to its answer.

    method: full name, `/package.Service/Name`. began: `perf_counter` at its arrival. request_id: names it in logs.
    principal: who asks, as authenticated; "" where nobody had to say. client: whose rate it counts for; None where
    there is no rate. phases: seconds spent in each phase so far.
    """

    __slots__ = ("began", "client", "marked", "method", "phases", "principal", "request_id")

    def __init__(self, method: str, request_id: str = "") -> None:
        self.method = method
        self.request_id = request_id
        self.principal = ""
        self.client: Client | None = None
        self.phases: dict[Phase, float] = {}
        self.began = self.marked = perf_counter()

    def mark(self, phase: Phase) -> None:
        """The time since the last mark was spent in this phase."""
        now = perf_counter()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self.marked
        self.marked = now

    def add(self, other: Call) -> None:
        """What was done for another, was done for this one too."""
        for phase, seconds in other.phases.items():
            self.phases[phase] = self.phases.get(phase, 0.0) + seconds
        self.marked = other.marked


_current: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """The call being answered by this thread; a new one of no method where there is none."""
    found = _current.get(None)
    return Call("") if found is None else found


def enter(call: Call) -> None:
    """From here on the thread answers this call."""
    _current.set(call)
