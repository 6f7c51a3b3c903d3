"""Threads that take events from gRPC's core, beside grpcio's own one."""

from __future__ import annotations

import time
from threading import Thread
from typing import Any

from grpc import _server as private
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # an extension without stubs

PAUSE = 1.0
"""Seconds without an event after which it is looked whether the server has stopped."""


class Events:
    """A server's completion queue, polled by several threads.

    grpcio ends the thread that sees the last event; here any may see it, and the others end too. state: the server's.
    """

    def __init__(self, state: Any) -> None:
        self._state = state
        self.queue = state.completion_queue
        state.completion_queue = self

    def start(self, threads: int) -> None:
        """Poll with so many threads more."""
        for i in range(threads):
            Thread(target=self._run, name=f"answer-{i}", daemon=True).start()

    def _run(self) -> None:
        going = True
        while going:
            event = self.poll(time.time() + PAUSE)
            timeout = event.completion_type == cygrpc.CompletionType.queue_timeout
            going = timeout or private._process_event_and_continue(self._state, event)
            event = None  # it keeps its call alive

    def poll(self, deadline: float | None = None) -> Any:
        """The next event, as the queue's own method; once the server has stopped, one that ends who asked."""
        event = self.queue.poll(deadline)
        timeout = event.completion_type == cygrpc.CompletionType.queue_timeout
        return _Last(self._state) if timeout and self._state.stage is private._ServerStage.STOPPED else event

    def __getattr__(self, name: str) -> Any:
        return getattr(self.queue, name)


class _Last:
    """An event after which grpcio finds that the server has nothing left to do, and ends the thread."""

    completion_type = cygrpc.CompletionType.operation_complete

    def __init__(self, state: Any) -> None:
        self._state = state

    def tag(self, event: Any) -> tuple[Any, tuple[()]]:
        with self._state.lock:
            self._state.rpc_states.add(self)
        return self, ()
