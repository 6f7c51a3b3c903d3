"""A method whose calls go through a gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.process.context import Context, Forget
    from server.process.gate import Gate
    from server.process.stream import Stream


class Gated:
    """A method of the server. Called with an event of the C core, as grpcio calls the tags of its own.

    bounded: whether its calls are turned away where too many wait. brief: whether they are answered side by side.
    streams: whether its handler is as `stream.Stream` has it. asked: how many the C core was asked for and has not
    handed over. handler: grpcio's.
    """

    def __init__(self, gate: Gate, path: str, handler: Any, bounded: bool, brief: bool, streams: bool) -> None:
        self._gate = gate
        self.path = path
        self.bounded = bounded
        self.brief = brief or streams
        self.streams = streams
        self.asked = 0
        self.handler = handler
        if bounded and handler.response_streaming:
            raise ValueError(f"{path}: a method whose replies are a stream cannot be bounded")
        if streams and not (handler.request_streaming and handler.response_streaming):
            raise ValueError(f"{path}: not both its requests and its replies are a stream")

    def __call__(self, event: Any) -> Forget:
        return self._gate.arrived(self, event)

    def received(self, context: Context, request: bytes | None) -> Forget:
        """See `Gate.received`."""
        return self._gate.received(self, context, request)

    def ready(self, stream: Stream) -> None:
        """See `Gate.ready`."""
        self._gate.ready(self, stream)
