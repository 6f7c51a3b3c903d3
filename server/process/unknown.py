"""Calls of methods that the server does not have, asked for many at a time.

grpcio asks the core for one, and for the next once it has answered that. Where none may wait in the core, it ends what
comes meanwhile as CANCELLED, and a caller is not told that there is no such method. So many calls that come in the same
moment are told here, and as many a second as others may be refused; beyond that it is as with grpcio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc import _server as private

from server.process.bounds import Allowance
from server.process.context import NOTHING, Forget


class Unknown:
    """state: grpcio's server's, whose lock is held when one of the methods is called. ask: asks the core for one such
    call, which comes to the tag given. soon: has `ask` called in a moment. most: to be asked for at a time. allowed:
    how many may be answered."""

    def __init__(
        self,
        state: Any,
        ask: Callable[[Callable[[Any], Forget]], None],
        soon: Callable[[], None],
        most: int,
        allowed: Allowance,
    ) -> None:
        self._state = state
        self._ask = ask
        self._soon = soon
        self._most = max(1, min(most, allowed.left()))
        self._allowed = allowed
        self._asked = 0
        self._closing = False

    def ask(self) -> None:
        """Ask for as many as may be answered, and for one at least."""
        wanted = max(1, min(self._most, self._allowed.left()))
        while self._asked < wanted:
            self._asked += 1
            self._ask(self._arrived)
        if wanted < self._most:
            self._soon()

    def close(self) -> None:
        """Ask for no more."""
        self._closing = True

    def _arrived(self, event: Any) -> Forget:
        """A call, or nothing more when the server stops."""
        with self._state.lock:
            self._asked -= 1
            over = self._closing and not self._asked
            if over:
                self._state.due.discard(private._REQUEST_CALL_TAG)
            answered = event.success and self._answer(event)
            if not self._closing:
                self.ask()
            return self._last() if over and not answered else NOTHING

    def _answer(self, event: Any) -> bool:
        """As grpcio does: by the generic handlers, where there are any, which mostly means that it is refused. Returns
        whether the call is to end yet."""
        state = self._state
        self._allowed.spend()
        method = private._GenericMethod(state.generic_handlers)
        call, _ = private._handle_call(event, method, state.interceptor_pipeline, state.thread_pool, False)
        if call is not None:
            state.rpc_states.add(call)
        return call is not None

    def _last(self) -> Forget:
        """The server may stop: grpcio looks whether it can when it forgets a state."""
        self._state.rpc_states.add(self)
        return self, ()
