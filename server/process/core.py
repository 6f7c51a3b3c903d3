"""The C core's server as grpcio sees it, behind a gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.process.events import Events
    from server.process.gate import Gate


class Core:
    """Stands in for the C core's server: what starts, asks for calls or ends goes by the gate, all else to the server.

    The queues that it is given are the gate's `Events`.
    """

    def __init__(self, gate: Gate, core: Any) -> None:
        self._gate = gate
        self._core = core

    def start(self) -> None:
        """The server starts."""
        self._gate.start()

    def request_registered_call(self, call_queue: Any, server_queue: Any, method: str, tag: str) -> None:
        """grpcio starts to ask for calls of a method; the gate has, at the start."""

    def request_call(self, call_queue: Any, server_queue: Any, tag: str) -> None:
        """The same of calls of no method that is registered."""

    def shutdown(self, queue: Events, tag: Any) -> None:
        """The server is to stop, once the calls that wait are answered."""
        self._gate.close()
        self._core.shutdown(queue.queue, tag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)
