"""Threads that take events from gRPC's core, in place of grpcio's own one.

One thread at a time hears of events, and does what they ask for at once where that takes little: a thread that hears
and one that answers would hand the interpreter to and fro between them, at every event. Where it takes long, the thread
steps aside first (`turn.step_aside`), and the next one hears of what comes meanwhile; and where it takes long though it
should not, such as a store that does not answer, the next one does not wait for that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from types import MethodType
from typing import Any

from grpc import _server as private
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # an extension without stubs

from server.process.turn import Turn, Turns
from server.process.wakefulness import Wakefulness

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds without an event after which it is looked whether the server has stopped."""
AT_ONCE = 64
"""Events that are heard of, at most, before calls that wait are answered."""


class Events:
    """A server's completion queue, heard by several threads in turn.

    grpcio ends the thread that sees the last event; here any may see it, and the others end too. state: the server's.
    ours: class of the tags that are called as a `Context`'s methods are. answer: answers some of the calls that wait;
    returns whether more do. late: called where that takes long. idle: called where there is no event. awake: see
    `Wakefulness`.
    """

    def __init__(
        self,
        state: Any,
        ours: type,
        answer: Callable[[], bool],
        late: Callable[[], None],
        idle: Callable[[], None],
        awake: float,
    ) -> None:
        self._state = state
        self._ours: set[type] = {MethodType, ours}
        self._answer = answer
        self._late = late
        self._idle = idle
        self._wakefulness = Wakefulness(awake)
        self._turns = Turns()
        self._ended = Event()
        self.queue = state.completion_queue
        state.completion_queue = self

    def start(self, threads: int) -> None:
        """Hear of events with so many threads."""
        for i in range(threads):
            Thread(target=self._run, name=f"answer-{i}", daemon=True).start()

    def _run(self) -> None:
        turn, more = Turn(self._turns), False
        while True:
            if turn.take():
                self._late()
            if self._ended.is_set() or not self._hear(wait=not more):
                self._ended.set()
                turn.leave()
                return
            turn.busy()
            more = self._answer()
            while more and not turn.mine:  # another thread hears of events, and may not answer these
                more = self._answer()

    def _hear(self, wait: bool) -> bool:
        """Take the events there are, waiting for one where told to; False after the last that will ever be."""
        event = self._first() if wait else self._at_hand()
        poll, ours, silent = self.queue.poll, self._ours, cygrpc.CompletionType.queue_timeout
        for left in range(AT_ONCE, 0, -1):
            if event is None or event.completion_type == silent:
                return self._state.stage is not private._ServerStage.STOPPED
            told = type(event.tag) in ours
            going = self._told(*event.tag(event)) if told else private._process_event_and_continue(self._state, event)
            if not going:
                return False
            event = None  # it keeps its call alive
            if left > 1 and (event := poll(0.0)).completion_type == silent:
                event = poll(0.0)  # see `_at_hand`
        return True

    def _first(self) -> Any:
        """Wait for an event, awake for as long as one may come soon."""
        event = self._at_hand()
        if event is not None:
            return event
        self._idle()
        began = now = time.perf_counter()
        until = began + self._wakefulness.seconds
        while event is None and now < until:
            event = self._at_hand()
            now = time.perf_counter()
        if event is None:
            event = self.queue.poll(time.time() + PAUSE)
            now = time.perf_counter()
        self._wakefulness.waited(now - began)
        return event

    def _at_hand(self) -> Any:
        """An event that has come already; None where none has.

        What a thread has sent wakes the core, which then answers the next poll without a look at its connections: one
        that finds nothing does not count.
        """
        for _ in range(2):
            event = self.queue.poll(0.0)
            if event.completion_type != cygrpc.CompletionType.queue_timeout:
                return event
        return None

    def _told(self, over: Any, callbacks: Sequence[Callable[[], None]]) -> bool:
        """What grpcio does once who is told of an event has been; the same in fewer steps. False as `_hear`."""
        for callback in callbacks:
            try:
                callback()
            except Exception:
                log.exception("a callback of a call failed")
        if over is None:
            return True
        with self._state.lock:
            self._state.rpc_states.remove(over)
            return not private._stop_serving(self._state)

    def poll(self, deadline: float | None = None) -> Any:
        """What grpcio's own thread hears, as by the queue's method: nothing, until the server has stopped."""
        self._ended.wait(PAUSE if deadline is None else max(0.0, deadline - time.time()))
        return _Last(self._state) if self._ended.is_set() else NOTHING_HEARD

    def __getattr__(self, name: str) -> Any:
        return getattr(self.queue, name)


class _Nothing:
    """An event that says that there was none."""

    completion_type = cygrpc.CompletionType.queue_timeout


NOTHING_HEARD = _Nothing()


class _Last:
    """An event after which grpcio finds that the server has nothing left to do, and ends the thread."""

    completion_type = cygrpc.CompletionType.operation_complete

    def __init__(self, state: Any) -> None:
        self._state = state

    def tag(self, event: Any) -> tuple[Any, tuple[()]]:
        with self._state.lock:
            self._state.rpc_states.add(self)
        return self, ()
