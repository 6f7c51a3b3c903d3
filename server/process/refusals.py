"""Refuses calls in one step, on the thread that hears of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # an extension without stubs
from grpc_status import rpc_status

from server.errors import retry_later
from server.process.bounds import Allowance, Bounds
from server.process.context import NO_FLAGS
from shoprank.errors import Overloaded


class Refusals:
    """Ends calls as RESOURCE_EXHAUSTED with the time after which to try again, at most so many a second.

    states: those of grpcio's server, which does not stop while one is left. refused: told of each call.
    """

    def __init__(self, states: set[Any], bounds: Bounds, refused: Callable[[], None]) -> None:
        self._states = states
        self._refused = refused
        self._allowed = Allowance(bounds.refusals)
        status = rpc_status.to_status(retry_later(Overloaded("more calls than can be answered", bounds.retry_after)))
        self._status = (status.trailing_metadata, cygrpc.StatusCode.resource_exhausted, status.details.encode())

    def left(self) -> int:
        """Calls that may be refused now."""
        return self._allowed.left()

    def refuse(self, event: Any) -> None:
        """End the call of the event. The server's lock is held."""
        self._refused()
        self._allowed.spend()
        self._states.add(event)  # the server does not stop before the refusal was sent
        operations = (  # anew each time: the C core writes into them
            cygrpc.SendInitialMetadataOperation(None, NO_FLAGS),
            cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS),
            cygrpc.SendStatusFromServerOperation(*self._status, NO_FLAGS),
        )
        event.call.start_server_batch(operations, lambda _: (event, ()))
