"""A service of the admin role, as the table of roles names it, answered by the test."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor

from server.app import listen
from server.errors import translated
from server.methods import register
from server.security.guard import guard
from server.security.pseudonym import pseudonyms
from server.security.redaction import Redaction
from server.security.settings import Security
from shoprank.errors import BundleError, InvalidRequest, NotFound


def described(service: str) -> ServiceDescriptor:
    """`shoprank.v1.<service>` with the methods Load and, streaming its replies, Watch."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{service}.proto", package="shoprank.v1", syntax="proto3")
    message = file.message_type.add(name="Ask")
    message.field.add(name="model", number=1, type=9, label=1)
    message.field.add(name="version", number=2, type=3, label=1)
    message.field.add(name="user_id", number=3, type=9, label=1)
    made = file.service.add(name=service)
    made.method.add(name="Load", input_type=".shoprank.v1.Ask", output_type=".shoprank.v1.Ask")
    made.method.add(name="Watch", input_type=".shoprank.v1.Ask", output_type=".shoprank.v1.Ask", server_streaming=True)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName(f"shoprank.v1.{service}")


class Servicer:
    """Fails as the model's name says."""

    def Load(self, request: Any, context: grpc.ServicerContext) -> Any:
        match request.model:
            case "missing":
                raise NotFound("no such model")
            case "bad":
                raise InvalidRequest([])
            case "altered":
                raise BundleError("altered")
            case "defect":
                raise KeyError(request.user_id)
            case "aborts":
                context.abort(grpc.StatusCode.ABORTED, "aborted")
        return request

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield request
        yield self.Load(request, context)


@contextmanager
def serving(security: Security, service: str = "ModelService") -> Iterator[str]:
    """The address of a server of that service alone."""
    server = grpc.server(ThreadPoolExecutor(4))
    names = pseudonyms(security)
    register(server, described(service), Servicer(), [Redaction(names), translated, guard(security, names)])
    port = listen(server, "127.0.0.1", 0)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(1).wait()


def call(address: str, method: str, token: str | None, **fields: Any) -> grpc.StatusCode:
    """Ask a method of ModelService and return the code."""
    service, _, name = method.rpartition("/")
    descriptor = described(service.rpartition(".")[2])
    Ask = message_factory.GetMessageClass(descriptor.methods_by_name[name].input_type)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address) as channel:
        try:
            if descriptor.methods_by_name[name].server_streaming:
                stream = channel.unary_stream(f"/{method}", Ask.SerializeToString, Ask.FromString)
                assert list(stream(Ask(**fields), metadata=metadata, timeout=10))
            else:
                unary = channel.unary_unary(f"/{method}", Ask.SerializeToString, Ask.FromString)
                unary(Ask(**fields), metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK
