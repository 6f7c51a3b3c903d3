"""The gate before the handlers, on a server of its own with one slow method and one that is not behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from benchmarks.load.http2 import Answer, Connection
from server.process.bounds import Bounds
from server.process.channel import waiting
from server.process.gate import Gate
from shoprank.errors import ShoprankError
from tests.serving import eventually

BOUNDS = Bounds(threads=2, burst=6, queue=1, patience=0.1, refusals=1_000, retry_after=0.25, request_seconds=0.5)


class Gated:
    """A server whose method `Slow` waits for `release`, and whose `Other` answers at once."""

    def __init__(self, bounds: Bounds, pending: int = 32) -> None:
        self.begun = 0
        self.refused = 0
        self.most = 0
        self.release = threading.Event()
        self._lock = threading.Lock()
        self._now = 0
        self.pool = ThreadPoolExecutor(2)
        self.server = grpc.server(
            self.pool,
            options=[("grpc.so_reuseport", 0), *waiting(pending)],
        )
        handlers = {
            "Slow": grpc.unary_unary_rpc_method_handler(self._slow),
            "Stream": grpc.unary_stream_rpc_method_handler(self._stream),
            "Chat": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
            "Other": grpc.unary_unary_rpc_method_handler(lambda request, context: b"at once"),
        }
        self.server.add_registered_method_handlers("t.T", handlers)  # type: ignore[attr-defined]
        slow = {"Slow": grpc.unary_unary_rpc_method_handler(self._slow)}
        self.server.add_registered_method_handlers("t.Unbounded", slow)  # type: ignore[attr-defined]
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        self.gate = Gate(self.server, ["/t.T/Slow"], bounds, self._refused)
        self.server.start()
        self.channel = grpc.insecure_channel(self.address, [("grpc.enable_retries", 0)])
        self.slow: Any = self.channel.unary_unary("/t.T/Slow", None, None)
        self.stream: Any = self.channel.unary_stream("/t.T/Stream", None, None)
        self.other: Any = self.channel.unary_unary("/t.T/Other", None, None)

    def _refused(self) -> None:
        self.refused += 1

    def _slow(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._lock:
            self.begun += 1
            self._now += 1
            self.most = max(self.most, self._now)
        self.release.wait(10)
        with self._lock:
            self._now -= 1
        return request

    def _stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(3):
            yield request

    def codes(self, calls: list[Any]) -> list[grpc.StatusCode]:
        """How the calls ended, once all have."""
        for call in calls:
            call.exception(timeout=20)
        return [call.code() for call in calls]

    def close(self) -> None:
        self.release.set()
        self.channel.close()
        self.server.stop(5).wait()


@pytest.fixture
def gated() -> Iterator[Gated]:
    made = Gated(BOUNDS)
    yield made
    made.close()


def begun(gated: Gated, count: int) -> None:
    end = time.monotonic() + 10
    while gated.begun < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_burst_waits_and_what_exceeds_it_is_refused_with_retry_info(gated: Gated) -> None:
    calls = [gated.slow.future(b"x", timeout=20) for _ in range(30)]
    begun(gated, 2)
    time.sleep(0.3)
    refused = [call for call in calls if call.done()]
    assert len(refused) == 30 - 8 - 2  # as many more as there are threads
    for call in refused:
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        status = rpc_status.from_call(call)
        info = error_details_pb2.RetryInfo()
        assert status is not None
        assert status.details[0].Unpack(info)
        assert info.retry_delay.ToMilliseconds() == 250
    gated.release.set()
    codes = gated.codes(calls)
    assert codes.count(grpc.StatusCode.OK) == 8 + 2
    assert gated.most == 2


def test_a_queue_that_lasts_is_cut_short(gated: Gated) -> None:
    first = [gated.slow.future(b"x", timeout=20) for _ in range(4)]
    begun(gated, 2)
    time.sleep(0.2)  # two wait, for longer than the patience
    later = [gated.slow.future(b"x", timeout=20) for _ in range(12)]
    time.sleep(0.3)
    assert sum(call.done() for call in later) >= 12 - 4 - 1
    gated.release.set()
    assert gated.codes(first) == [grpc.StatusCode.OK] * 4
    again = [gated.slow.future(b"x", timeout=20) for _ in range(3)]
    assert grpc.StatusCode.OK in gated.codes(again)


def test_a_call_that_came_while_there_was_no_room_does_not_go_before_those_that_come_later() -> None:
    gated = Gated(
        Bounds(threads=1, burst=0, queue=0, patience=0.1, refusals=0, retry_after=1, request_seconds=5), pending=0
    )
    first = gated.slow.future(b"x", timeout=20)
    begun(gated, 1)
    stale = [gated.slow.future(b"x", timeout=20) for _ in range(3)]
    end = time.monotonic() + 10
    while sum(call.done() for call in stale) < 2 and time.monotonic() < end:  # one waits in the core
        time.sleep(0.01)
    gated.release.set()
    assert gated.codes([first]) == [grpc.StatusCode.OK]
    assert gated.codes(stale) == [grpc.StatusCode.CANCELLED] * 3
    assert gated.codes([gated.slow.future(b"x", timeout=20)]) == [grpc.StatusCode.OK]
    assert gated.begun == 2
    gated.close()


def test_without_refusals_the_core_ends_what_exceeds_the_bound() -> None:
    gated = Gated(
        Bounds(threads=2, burst=2, queue=2, patience=0.1, refusals=0, retry_after=1, request_seconds=5), pending=2
    )
    calls = [gated.slow.future(b"x", timeout=20) for _ in range(30)]
    begun(gated, 2)
    gated.release.set()
    codes = gated.codes(calls)
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}
    assert codes.count(grpc.StatusCode.OK) >= 4
    assert gated.refused == 0
    gated.close()


def test_refusals_are_bounded_a_second() -> None:
    gated = Gated(replace(BOUNDS, threads=1, burst=0, queue=0, refusals=20))
    held = gated.slow.future(b"x", timeout=20)
    begun(gated, 1)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        gated.slow.future(b"x", timeout=0.05)
        time.sleep(0.001)
    assert gated.refused <= 2 + 20 + 2
    gated.release.set()
    assert held.result() == b"x"
    gated.close()


def test_other_methods_pass_while_the_gate_is_full(gated: Gated) -> None:
    calls = [gated.slow.future(b"x", timeout=20) for _ in range(50)]
    begun(gated, 2)
    others = [gated.other.future(b"x", timeout=5) for _ in range(40)]
    assert gated.codes(others) == [grpc.StatusCode.OK] * 40
    gated.release.set()
    gated.codes(calls)


def test_calls_that_take_long_keep_those_of_another_service_waiting_for_none(gated: Gated) -> None:
    slow: Any = gated.channel.unary_unary("/t.Unbounded/Slow", None, None)
    calls = [slow.future(b"x", timeout=20) for _ in range(8)]
    begun(gated, 2)
    assert gated.other(b"x", timeout=2) == b"at once"
    gated.release.set()
    assert gated.codes(calls) == [grpc.StatusCode.OK] * 8


def test_streams_of_replies_pass_while_the_gate_is_full(gated: Gated) -> None:
    calls = [gated.slow.future(b"x", timeout=20) for _ in range(50)]
    begun(gated, 2)
    stream = gated.stream(b"x", timeout=5)
    assert list(stream) == [b"x"] * 3
    gated.release.set()
    gated.codes(calls)


def test_a_method_that_streams_cannot_be_bounded() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"Stream": grpc.unary_stream_rpc_method_handler(lambda request, context: iter(()))}
    server.add_registered_method_handlers("t.T", handlers)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"/t\.T/Stream: a method whose replies are a stream cannot be bounded"):
        Gate(server, ["/t.T/Stream"], BOUNDS)


def test_calls_that_wait_when_the_server_stops_are_answered() -> None:
    gated = Gated(
        Bounds(threads=1, burst=1, queue=1, patience=10, refusals=0, retry_after=1, request_seconds=5), pending=3
    )
    calls = [gated.slow.future(b"x", timeout=20) for _ in range(4)]  # one is answered, one waits, two wait in the core
    begun(gated, 1)
    time.sleep(0.2)
    stopped = gated.server.stop(10)
    gated.release.set()
    assert gated.codes(calls) == [grpc.StatusCode.OK] * 4
    assert stopped.wait(10)
    gated.channel.close()


class LateCall:
    """An event of a call that threads hear of after that of the last call asked for in vain."""

    success = True

    def __init__(self) -> None:
        self.call = self

    def start_server_batch(self, operations: Any, tag: Any) -> None:
        """Take the operations."""


def test_a_server_stops_whatever_the_order_in_which_threads_hear_of_its_last_calls() -> None:
    gated = Gated(BOUNDS)
    gate, path = gated.gate, "/t.T/Slow"
    method = gate._methods[path]
    with gate._state.lock:
        gate._closing, asked, method.asked = True, method.asked, 2
    nothing: Any = type("Nothing", (), {"success": False})()
    assert gate.arrived(method, nothing) == (None, ())
    assert path in gate._state.due
    gate.arrived(method, LateCall())
    assert path not in gate._state.due
    with gate._state.lock:
        gate._closing, method.asked = False, asked
        gate._state.rpc_states = {state for state in gate._state.rpc_states if not hasattr(state, "answer")}
    gated.close()


def test_callers_that_go_leave_no_place_taken(gated: Gated) -> None:
    for _ in range(20):
        calls = [gated.slow.future(b"x", timeout=20) for _ in range(8)]
        for call in calls:
            call.cancel()
    gated.release.set()
    time.sleep(0.3)
    assert gated.slow(b"x", timeout=5) == b"x"
    assert len(gated.gate._answering) <= 1
    assert not gated.gate._waiting


def begin(gated: Gated, never: threading.Event) -> Any:
    """A call that does not send its request before `never` is set."""

    def requests() -> Iterator[bytes]:
        never.wait(20)
        yield from ()

    return gated.channel.stream_unary("/t.T/Slow", None, None).future(requests(), timeout=20)


@pytest.mark.parametrize("refusals", [0, 1_000])
def test_calls_that_never_send_a_request_keep_no_place_and_end(refusals: int) -> None:
    gated = Gated(replace(BOUNDS, refusals=refusals))
    gated.release.set()
    never = threading.Event()
    without_request = [begin(gated, never) for _ in range(8)]
    time.sleep(0.2)
    for _ in range(6):
        assert gated.slow(b"x", timeout=5) == b"x"
        time.sleep(0.1)
    assert gated.codes(without_request) == [grpc.StatusCode.CANCELLED] * 8
    never.set()
    gated.close()


def test_a_call_that_never_sends_a_request_ends_where_no_other_comes(gated: Gated) -> None:
    never = threading.Event()
    alone = begin(gated, never)
    began = time.monotonic()
    assert gated.codes([alone]) == [grpc.StatusCode.CANCELLED]
    assert time.monotonic() - began < 5
    never.set()


def test_a_call_that_ends_without_a_request_is_told_so(gated: Gated) -> None:
    empty = gated.channel.stream_unary("/t.T/Slow", None, None).future(iter(()), timeout=5)
    assert gated.codes([empty]) == [grpc.StatusCode.UNIMPLEMENTED]


@pytest.mark.parametrize(("calls", "answered"), [(20, 20), (60, 32)])
def test_streams_that_begin_in_the_same_moment_are_answered_up_to_their_bound(calls: int, answered: int) -> None:
    gated = Gated(BOUNDS, pending=0)
    for _ in range(2):
        gated.pool.submit(gated.release.wait, 10)  # none ends before all began
    codes = at_once(gated, "/t.T/Chat", calls, release_after=calls - answered)
    assert codes.count("OK") == answered
    assert codes.count("RESOURCE_EXHAUSTED") == calls - answered
    gated.close()


def at_once(gated: Gated, path: str, calls: int, release_after: int = -1) -> list[str]:
    """How so many calls end that begin in the same moment, on one connection. So many end before others may."""
    connection = Connection(gated.address, path)
    for _ in range(calls):
        connection.begin(b"x")
    ended: list[Answer] = []
    end = time.monotonic() + 10
    while len(ended) < calls and time.monotonic() < end:
        connection.flush()
        connection.wait(0.1)
        ended += connection.answers()
        if len(ended) == release_after:
            gated.release.set()
    connection.close()
    return [answer.code for answer in ended]


def test_callers_of_an_unknown_method_are_told_so_as_many_as_one_connection_may_begin() -> None:
    gated = Gated(BOUNDS, pending=0)
    for _ in range(3):
        eventually(lambda: gated.gate._unknown._asked >= 95)  # as many may be answered again
        assert at_once(gated, "/t.T/Unknown", 95) == ["UNIMPLEMENTED"] * 95
    gated.release.set()
    assert gated.slow(b"x", timeout=5) == b"x"
    began = time.monotonic()
    gated.close()
    assert time.monotonic() - began < 2


def test_an_idle_server_stops_at_once() -> None:
    gated = Gated(BOUNDS)
    began = time.monotonic()
    gated.close()
    assert time.monotonic() - began < 2


def test_another_grpcio_is_refused_by_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from grpc import _server

    monkeypatch.delattr(_server, "_abort")
    server = grpc.server(ThreadPoolExecutor(1))
    with pytest.raises(ShoprankError, match=rf"grpcio {grpc.__version__} is made differently in _abort"):
        Gate(server, [], BOUNDS)


def test_a_renamed_attribute_is_named() -> None:
    server: Any = grpc.server(ThreadPoolExecutor(1))
    state, server._state = server._state, object()
    with pytest.raises(ShoprankError, match=r"_ServerState\.rpc_states.*SHOPRANK_LIMITS__GATE=false"):
        Gate(server, [], BOUNDS)
    server._state = state
