"""What a handler behind the gate is given, against a client of grpcio: as grpcio's own context, or better."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from server.errors import retry_later
from server.process.bounds import Bounds
from server.process.gate import Gate
from shoprank.errors import Overloaded

BOUNDS = Bounds(threads=2, burst=8, queue=8, patience=1.0, refusals=100, retry_after=1, request_seconds=5)
Handler = Callable[[bytes, grpc.ServicerContext], bytes]


@contextmanager
def call(handler: Handler, parse: Any = None, serialize: Any = None) -> Iterator[Any]:
    """A way to call a handler that stands behind the gate."""
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    handlers = {"Call": grpc.unary_unary_rpc_method_handler(handler, parse, serialize)}
    server.add_registered_method_handlers("t.T", handlers)  # type: ignore[attr-defined]
    port = server.add_insecure_port("127.0.0.1:0")
    Gate(server, ["/t.T/Call"], BOUNDS)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)]) as channel:
        yield channel.unary_unary("/t.T/Call", None, None)
    assert server.stop(5).wait(10)


def test_a_handler_sees_who_calls_until_when_and_with_what_metadata() -> None:
    def handler(request: bytes, context: grpc.ServicerContext) -> bytes:
        metadata: Any = context.invocation_metadata()
        assert context.is_active()
        assert context.peer_identity_key() is None
        assert context.peer_identities() is None
        assert "transport_security_type" in context.auth_context()
        context.set_trailing_metadata((("seen", dict(metadata)["given"]),))
        return f"{context.peer().rsplit(':', 1)[0]} {round(context.time_remaining())}".encode()

    with call(handler) as ask:
        reply, ended = ask.with_call(b"", timeout=7, metadata=[("given", "this")])
        assert reply == b"ipv4:127.0.0.1 7"
        assert ended.trailing_metadata()[0] == ("seen", "this")
        assert ended.code() is grpc.StatusCode.OK


def test_initial_metadata_is_sent_once_ahead_of_the_reply() -> None:
    def handler(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("early", "bird"),))
        with pytest.raises(ValueError, match="initial metadata was sent already"):
            context.send_initial_metadata(())
        return b"late"

    with call(handler) as ask:
        reply, ended = ask.with_call(b"", timeout=5)
        assert (reply, ended.initial_metadata()[0]) == (b"late", ("early", "bird"))


def test_an_abort_ends_the_call_with_its_code_words_and_details() -> None:
    def handler(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request == b"plain":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ü")
        context.abort_with_status(rpc_status.to_status(retry_later(Overloaded("too much", 0.5))))

    with call(handler) as ask:
        with pytest.raises(grpc.RpcError) as error:
            ask(b"plain", timeout=5)
        assert (error.value.code(), error.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing: ü")
        with pytest.raises(grpc.RpcError) as error:
            ask(b"rich", timeout=5)
        trailing: Any = error.value.trailing_metadata()
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert b"RetryInfo" in dict(trailing)["grpc-status-details-bin"]


def test_a_handler_may_reply_with_another_code() -> None:
    def handler(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("some is gone")
        return b"the rest"

    with call(handler) as ask, pytest.raises(grpc.RpcError) as error:
        ask(b"", timeout=5)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.DATA_LOSS, "some is gone")


@pytest.mark.parametrize("part", ["parse", "handler", "serialize"])
def test_what_fails_is_told_logged_and_harms_no_later_call(part: str, caplog: pytest.LogCaptureFixture) -> None:
    def stage(name: str) -> Callable[..., bytes]:
        def run(value: bytes, *context: Any) -> bytes:
            if name == part and value == b"bad":
                raise RuntimeError(f"{name} broke")
            return value

        return run

    with call(stage("handler"), stage("parse"), stage("serialize")) as ask:
        with pytest.raises(grpc.RpcError) as error:
            ask(b"bad", timeout=5)
        assert error.value.code() is grpc.StatusCode.UNKNOWN
        assert f"{part} broke" in str(error.value.details())
        assert ask(b"good", timeout=5) == b"good"
    assert f"{part} broke" in caplog.text


def test_a_handler_learns_that_its_caller_has_gone() -> None:
    told, begun = threading.Event(), threading.Event()
    states: list[bool] = []

    def handler(request: bytes, context: grpc.ServicerContext) -> bytes:
        assert context.add_callback(told.set)
        begun.set()
        assert told.wait(5)
        states.append(context.is_active())
        assert not context.add_callback(told.set)
        return b"nobody hears this"

    with call(handler) as ask:
        future = ask.future(b"", timeout=5)
        assert begun.wait(5)
        future.cancel()
        end = time.monotonic() + 5
        while not states and time.monotonic() < end:
            time.sleep(0.01)
    assert states == [False]


def test_callbacks_are_called_when_the_call_has_ended() -> None:
    told = threading.Event()

    def handler(request: bytes, context: grpc.ServicerContext) -> bytes:
        return b"yes" if context.add_callback(told.set) else b"no"

    with call(handler) as ask:
        assert ask(b"", timeout=5) == b"yes"
        assert told.wait(5)


def test_a_handler_may_cancel_its_call() -> None:
    def handler(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.cancel()  # type: ignore[no-untyped-call]
        return b""

    with call(handler) as ask, pytest.raises(grpc.RpcError) as error:
        ask(b"", timeout=5)
    assert error.value.code() is grpc.StatusCode.CANCELLED


def test_an_answer_that_cannot_be_sent_ends_its_call_and_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request == b"bad":
            broken: Any = (("key", object()),)
            context.set_trailing_metadata(broken)
        return request

    with call(handler) as ask:
        for _ in range(2 * BOUNDS.threads):  # as many as would end every thread
            with pytest.raises(grpc.RpcError) as error:
                ask(b"bad", timeout=5)
            assert error.value.code() is grpc.StatusCode.INTERNAL
        assert ask(b"good", timeout=5) == b"good"
    assert "/t.T/Call: the answer could not be sent" in caplog.text


def test_what_a_handler_noted_is_known_when_its_failure_is_logged() -> None:
    noted: ContextVar[str] = ContextVar("noted", default="nothing")
    known: list[str] = []

    def handler(request: bytes, context: grpc.ServicerContext) -> bytes:
        noted.set("whose ids to hide")
        raise RuntimeError("broke")

    def look(record: logging.LogRecord) -> bool:
        known.append(noted.get())
        return True

    log = logging.getLogger("server.process.context")
    log.addFilter(look)
    try:
        with call(handler) as ask, pytest.raises(grpc.RpcError):
            ask(b"", timeout=5)
    finally:
        log.removeFilter(look)
    assert known == ["whose ids to hide"]
