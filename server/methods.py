"""Registers services so that every call passes the same stages, put together once a method and not once a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from shoprank.errors import FieldViolation, InvalidRequest

Behaviour = Callable[[Any, grpc.ServicerContext], Any]
"""What answers a call: of a request (an iterator of them where the client streams) and a context, the reply (an
iterator of them where the server streams)."""


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. path: `/package.Service/Name`. request: class of its requests."""

    path: str
    service: str
    name: str
    client_streams: bool
    server_streams: bool
    request: type[Message]

    def message(self, request: Any) -> Message | None:
        """A request as a message, one that came as bytes too; None of bytes that are no message, and of a stream."""
        if not isinstance(request, bytes):
            return request if isinstance(request, Message) else None
        try:
            return self.request.FromString(request)
        except DecodeError:
            return None


class Stage(Protocol):
    """Wraps what answers a method's calls: to refuse some, to watch, to translate errors."""

    def __call__(self, method: Method, behaviour: Behaviour) -> Behaviour:
        """The behaviour with this stage around it."""
        ...


def register(server: grpc.Server, service: ServiceDescriptor, servicer: Any, stages: Sequence[Stage]) -> None:
    """Serve every method of the service by the servicer's method of that name, inside the stages, the first outermost.

    A servicer may return a reply as the bytes it would serialize to; of the methods it names in `raw`, it is given
    requests as the bytes that came.
    """
    handlers = {name: _handler(descriptor, servicer, stages) for name, descriptor in service.methods_by_name.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    server.add_registered_method_handlers(service.full_name, handlers)  # type: ignore[attr-defined]  # stubs lack it


def method_of(descriptor: MethodDescriptor) -> Method:
    """The method that a descriptor describes."""
    service = descriptor.containing_service.full_name
    return Method(
        path=f"/{service}/{descriptor.name}",
        service=service,
        name=descriptor.name,
        client_streams=descriptor.client_streaming,
        server_streams=descriptor.server_streaming,
        request=message_factory.GetMessageClass(descriptor.input_type),
    )


_HANDLERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _handler(descriptor: MethodDescriptor, servicer: Any, stages: Sequence[Stage]) -> grpc.RpcMethodHandler[Any, Any]:
    method = method_of(descriptor)
    behaviour: Behaviour = _of_messages(method, getattr(servicer, method.name))
    for stage in reversed(stages):
        behaviour = stage(method, behaviour)
    raw: frozenset[str] = getattr(servicer, "raw", frozenset())
    make: Any = _HANDLERS[method.client_streams, method.server_streams]
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        behaviour,
        request_deserializer=None if method.name in raw else _parsed(method.request),
        response_serializer=_serialized,
    )
    return handler


UNREADABLE: Final = object()
"""A request whose bytes are no message."""


def _parsed(kind: type[Message]) -> Callable[[bytes], Any]:
    """Bytes into a message. gRPC would log a trace of each that is none, as many as a caller cares to send."""

    def parse(data: bytes) -> Any:
        try:
            return kind.FromString(data)
        except DecodeError:
            return UNREADABLE

    return parse


def _of_messages(method: Method, behaviour: Behaviour) -> Behaviour:
    """The behaviour, for requests that are messages; others are refused."""

    def readable(request: Any) -> Any:
        if request is UNREADABLE:
            raise InvalidRequest([FieldViolation("request", f"is no {method.request.DESCRIPTOR.full_name}")])
        return request

    if method.client_streams:
        return lambda requests, context: behaviour(map(readable, requests), context)
    return lambda request, context: behaviour(readable(request), context)


def _serialized(reply: Any) -> bytes:
    if isinstance(reply, bytes):
        return reply
    serialized: bytes = reply.SerializeToString()
    return serialized
