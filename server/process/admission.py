"""The stage that lets a call in, or not, once a thread has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from server import call
from server.methods import Behaviour, Method
from server.process.rate import Client, Rates
from server.process.settings import Limits
from shoprank.errors import TooLate


class Admission:
    """Refuses calls that nobody waits for any more, and clients that ask too often; a stage.

    rates: None where clients may ask as often as they like.
    """

    def __init__(self, rates: Rates | None) -> None:
        self._rates = rates

    @classmethod
    def of(cls, limits: Limits) -> Admission:
        """The admission that the settings ask for."""
        return cls(Rates(limits.client_rate, limits.client_burst, limits.clients) if limits.client_rate else None)

    def __call__(self, method: Method, behaviour: Behaviour) -> Behaviour:
        """The behaviour behind it."""

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            self._admit(context)
            return behaviour(request, context)

        def streaming(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            self._admit(context)
            yield from behaviour(request, context)

        return streaming if method.server_streams else unary

    def _admit(self, context: grpc.ServicerContext) -> None:
        # The C core ends a call by its monotonic clock when its deadline passes; `time_remaining` goes by the wall's.
        if not context.is_active():
            raise TooLate("the deadline passed, or the caller went, before the call could be answered")
        if self._rates is None:
            return
        answering = call.current()
        answering.client = Client(answering.principal or host(context.peer()), self._rates)
        answering.client.take()


def host(peer: str) -> str:
    """The part of a peer that names its machine: `ipv4:10.0.0.1:4711` without the port.

    >>> host("ipv4:10.0.0.1:4711"), host("ipv6:%5B::1%5D:4711"), host("unix:")
    ('ipv4:10.0.0.1', 'ipv6:%5B::1%5D', 'unix:')
    """
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer
