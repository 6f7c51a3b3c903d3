"""Calls of methods that the server does not have, asked for many at a time.

grpcio asks the core for one, and for the next once it has answered that. Where none may wait in the core, it ends what
comes meanwhile as CANCELLED, and a caller is not told that there is no such method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc import _server as private

from server.process.context import NOTHING, Forget


class Unknown:
    """state: grpcio's server's. ask: asks the core for one such call, which comes to the tag given."""

    def __init__(self, state: Any, ask: Callable[[Callable[[Any], Forget]], None]) -> None:
        self._state = state
        self._ask = ask
        self._asked = 0
        self._wanted = 0

    def want(self, calls: int, more: bool = True) -> None:
        """Ask for so many at a time, and anew as they come only where there are to be `more`."""
        while self._asked < calls:
            self._asked += 1
            self._ask(self._arrived)
        self._wanted = calls if more else 0

    def _arrived(self, event: Any) -> Forget:
        """A call, or nothing more when the server stops."""
        with self._state.lock:
            self._asked -= 1
            if not (self._asked or self._wanted):
                self._state.due.discard(private._REQUEST_CALL_TAG)
            if not event.success:
                return self._last() if not self._asked else NOTHING
            self._answer(event)
            self.want(self._wanted, more=self._wanted > 0)
        return NOTHING

    def _answer(self, event: Any) -> None:
        """As grpcio does: by the generic handlers, where there are any, which mostly means that it is refused."""
        state = self._state
        method = private._GenericMethod(state.generic_handlers)
        call, _ = private._handle_call(event, method, state.interceptor_pipeline, state.thread_pool, False)
        if call is not None:
            state.rpc_states.add(call)

    def _last(self) -> Forget:
        """The server may stop: grpcio looks whether it can when it forgets a state."""
        self._state.rpc_states.add(self)
        return self, ()
