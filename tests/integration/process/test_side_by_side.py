"""Calls of a brief method, answered side by side behind the gate by one thread."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import pytest

from benchmarks.load.http2 import Connection
from server.process.bounds import Bounds
from server.process.channel import waiting
from server.process.gate import Gate
from server.process.together import apart, together

BOUNDS = Bounds(threads=2, burst=64, queue=64, patience=1.0, refusals=100, retry_after=0.25, request_seconds=5)
CAME_AT_ONCE = 95
HELD_SECONDS = 1.0
WORK_SECONDS = 0.001
"""Of a call that works, beside others or not."""


class Doubling:
    """A server whose brief method `Double` returns its request twice; `bad` ends its call, `hold` and `long` take a
    while, `long` saying so."""

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.together: list[int] = []
        self.gone: list[bool] = []
        self.server = grpc.server(
            ThreadPoolExecutor(2),
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_concurrent_streams", 100),
                *waiting(0),
            ],
        )
        handlers = {
            "Double": grpc.unary_unary_rpc_method_handler(self._double),
            "Other": grpc.unary_unary_rpc_method_handler(lambda request, context: b"at once"),
        }
        self.server.add_registered_method_handlers("t.T", handlers)  # type: ignore[attr-defined]
        port = self.server.add_insecure_port("127.0.0.1:0")
        Gate(self.server, ["/t.T/Double"], bounds, brief=["/t.T/Double"])
        self.server.start()
        self.address = f"127.0.0.1:{port}"
        self.channel = grpc.insecure_channel(self.address, [("grpc.enable_retries", 0)])
        self.double: Any = self.channel.unary_unary("/t.T/Double", None, None)
        self.other: Any = self.channel.unary_unary("/t.T/Other", None, None)

    def _double(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if request == b"bad":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad")
        if request == b"hold":
            time.sleep(HELD_SECONDS)
            self.gone.append(not context.is_active())
        if request == b"work":
            return together(self._working, request)
        if request == b"long":
            return apart(self._slowly, request)
        return together(self._doubled, request)

    def _doubled(self, requests: Sequence[bytes]) -> list[bytes]:
        self.together.append(len(requests))
        return [2 * request for request in requests]

    def _working(self, requests: Sequence[bytes]) -> list[bytes]:
        time.sleep(WORK_SECONDS * len(requests))
        return [2 * request for request in requests]

    def _slowly(self, requests: Sequence[bytes]) -> list[bytes]:
        time.sleep(HELD_SECONDS)
        return [2 * request for request in requests]


@pytest.fixture
def doubling() -> Iterator[Doubling]:
    made = Doubling()
    yield made
    made.channel.close()
    made.server.stop(5).wait()


def test_calls_that_wait_are_answered_together_and_each_gets_its_own_answer(doubling: Doubling) -> None:
    held = doubling.double.future(b"hold", timeout=10)
    time.sleep(0.01)
    requests = [b"%d" % i for i in range(40)] + [b"bad"] * 3
    calls = [doubling.double.future(request, timeout=10) for request in requests]
    for request, call in zip(requests, calls, strict=True):
        if request == b"bad":
            assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        else:
            assert call.result() == 2 * request
    assert held.result() == b"holdhold"
    assert sum(doubling.together) == 41
    assert max(doubling.together) > 1


def test_many_callers_at_once_get_their_own_answers(doubling: Doubling) -> None:
    wrong: list[bytes] = []

    def ask(name: int) -> None:
        for i in range(100):
            request = b"%d of %d" % (i, name)
            if doubling.double(request, timeout=10) != 2 * request:
                wrong.append(request)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(doubling.together) == 800


def test_nearly_as_many_calls_as_a_connection_may_have_open_can_come_in_one_piece() -> None:
    waiting = Doubling(replace(BOUNDS, burst=128))
    connection = Connection(waiting.address, "/t.T/Double")
    codes: Counter[str] = Counter()
    try:
        for _ in range(CAME_AT_ONCE):
            connection.begin(b"x")
        deadline = time.monotonic() + 10
        while codes.total() < CAME_AT_ONCE and time.monotonic() < deadline:
            connection.flush()
            connection.wait(0.1)
            codes.update(answer.code for answer in connection.answers())
    finally:
        connection.close()
        waiting.channel.close()
        waiting.server.stop(5).wait()
    assert codes == {"OK": CAME_AT_ONCE}


@pytest.mark.parametrize("request_", [b"hold", b"long"])
def test_a_call_that_takes_long_keeps_no_other_waiting(doubling: Doubling, request_: bytes) -> None:
    long = doubling.double.future(request_, timeout=10)
    time.sleep(0.01)
    assert doubling.other(b"", timeout=HELD_SECONDS) == b"at once"
    assert doubling.double(b"x", timeout=HELD_SECONDS) == b"xx"
    assert not long.done()
    assert long.result() == 2 * request_


def test_a_call_that_takes_long_hears_of_its_callers_going(doubling: Doubling) -> None:
    call = doubling.double.future(b"hold", timeout=10)
    time.sleep(0.02)
    call.cancel()
    end = time.monotonic() + 5
    while not doubling.gone:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert doubling.gone == [True]


def test_where_more_is_asked_than_can_be_done_what_is_answered_is_answered_soon() -> None:
    """No call waits where the server cannot count it: at a caller whose connection has as many open as it may."""
    shedding = Doubling(replace(BOUNDS, burst=32, burst_seconds=0.5, queue=6, patience=0.1, refusals=20))
    assert shedding.double(b"x", timeout=10) == b"xx"  # the connection knows its limit of calls from here on
    codes: Counter[grpc.StatusCode] = Counter()
    late: list[float] = []
    began = time.monotonic()

    def asked(due: float, sent: float) -> Callable[[Any], None]:
        def ended(call: Any) -> None:
            if due > 0.5:  # before, it is taken for a burst
                codes[call.code()] += 1
                if call.code() is grpc.StatusCode.OK:
                    late.append(time.monotonic() - sent)

        return ended

    calls = []
    try:
        for i in range(3_000):  # 1.5 s of twice as much as it can do
            due = i * WORK_SECONDS / 2
            time.sleep(max(0.0, began + due - time.monotonic()))
            sent = time.monotonic()  # not when it was due: a slow machine keeps the client from its schedule
            calls.append(shedding.double.future(b"work", timeout=10))
            calls[-1].add_done_callback(asked(due, sent))
        for call in calls:
            call.exception()
    finally:
        shedding.channel.close()
        shedding.server.stop(5).wait()
    assert codes[grpc.StatusCode.OK] > 300
    assert codes[grpc.StatusCode.RESOURCE_EXHAUSTED] + codes[grpc.StatusCode.CANCELLED] > 300
    assert codes[grpc.StatusCode.DEADLINE_EXCEEDED] == 0
    assert sorted(late)[len(late) // 2] < 0.3  # 0.02 s where the machine has nothing else to do
