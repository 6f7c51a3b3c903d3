"""Calls whose requests and replies are streams, answered behind the gate by the threads that hear of them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import grpc
import pytest

from server.process.bounds import Bounds
from server.process.gate import Gate
from server.process.stream import Stream
from server.process.together import together
from tests.serving import eventually

BOUNDS = Bounds(
    threads=2, burst=64, queue=64, patience=1.0, refusals=100, retry_after=0.25, request_seconds=5,
    streams=24, read_ahead=16,
)  # fmt: skip
LARGE = 100_000
GONE = (["gone, over"], ["end"])
"""How a handler ends whose caller has gone. gRPC says first that no request will come; where its own threads watch the
connections, as here and not in `shoprank serve`, a handler may hear of that before it hears the rest."""
name: ContextVar[bytes] = ContextVar("name")


class Repeating:
    """A server whose streams answer each request by the first request and itself; `bad` ends the call, `defect` raises,
    `hold` waits for `release`, `large` gets a large reply."""

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.together: list[int] = []
        self.ended: list[str] = []
        self.release = threading.Event()
        self.held = threading.Event()
        self.server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
        handlers = {
            "Repeat": grpc.stream_stream_rpc_method_handler(self._repeat),
            "Double": grpc.unary_unary_rpc_method_handler(lambda request, context: together(self._doubled, [request])),
        }
        self.server.add_registered_method_handlers("t.T", handlers)  # type: ignore[attr-defined]
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.gate = Gate(self.server, ["/t.T/Double"], bounds, brief=["/t.T/Double"], streams=["/t.T/Repeat"])
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)])
        self.repeat: Any = self.channel.stream_stream("/t.T/Repeat", None, None)
        self.double: Any = self.channel.unary_unary("/t.T/Double", None, None)

    def _repeat(self, requests: Iterator[bytes | None], context: grpc.ServicerContext) -> Iterator[bytes | None]:
        some: list[bytes] = []
        try:
            for request in requests:
                if request is not None:
                    if name.get(None) is None:
                        name.set(request)
                    some.append(request)
                    continue
                yield from self._answered(some, context)
                some = []
                yield None
            yield from self._answered(some, context)
        except GeneratorExit:
            self.ended.append(f"gone, {'active' if context.is_active() else 'over'}")
            raise
        self.ended.append("end")

    def _answered(self, some: list[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in some:
            if request == b"bad":
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad")
            if request == b"defect":
                raise KeyError("a defect")
            if request == b"hold":
                self.held.set()
                self.release.wait(10)
            yield bytes(LARGE) if request == b"large" else name.get() + b" " + request
        if some:
            together(self._doubled, some)

    def _doubled(self, several: Sequence[Sequence[bytes]]) -> list[bytes]:
        self.together.append(sum(map(len, several)))
        return [2 * b"".join(some) for some in several]

    def idle(self) -> bool:
        """Whether nothing is left of any call."""
        return not (self.gate._state.rpc_states or self.gate._streams or self.gate._waiting or self.gate._answering)


@pytest.fixture
def repeating() -> Iterator[Repeating]:
    made = Repeating()
    yield made
    made.release.set()
    made.channel.close()
    assert made.server.stop(5).wait(10)


class Asking:
    """Requests that a test gives one by one."""

    def __init__(self, *first: bytes) -> None:
        self._given = list(first)
        self._changed = threading.Condition()

    def give(self, request: bytes | None) -> None:
        """One more; None for the last."""
        with self._changed:
            self._given.append(request or b"")
            self._changed.notify()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                while not self._given:
                    self._changed.wait(10)
                request = self._given.pop(0)
            if not request:
                return
            yield request


def requests_of(stream: int, count: int) -> list[bytes]:
    return [b"%d-%d" % (stream, i) for i in range(count)]


def test_many_streams_at_once_get_their_own_answers_in_order(repeating: Repeating) -> None:
    got: dict[int, list[bytes]] = {}

    def ask(stream: int) -> None:
        got[stream] = list(repeating.repeat(iter(requests_of(stream, 300)), timeout=30))

    threads = [threading.Thread(target=ask, args=(stream,)) for stream in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stream in range(20):
        first, *_ = asked = requests_of(stream, 300)
        assert got[stream] == [first + b" " + request for request in asked]
    assert repeating.ended == ["end"] * 20
    eventually(repeating.idle)


def test_requests_that_wait_are_answered_beside_those_of_other_streams_and_calls(repeating: Repeating) -> None:
    holding = repeating.repeat(iter([b"hold"]), timeout=20)
    assert repeating.held.wait(5)
    stuck = repeating.repeat(iter([b"hold"]), timeout=20)  # now both threads are busy
    time.sleep(0.3)
    streams = [repeating.repeat(iter(requests_of(i, 3)), timeout=20) for i in range(2)]
    calls = [repeating.double.future(b"x", timeout=20) for _ in range(2)]
    time.sleep(0.3)
    repeating.release.set()
    assert [call.result() for call in calls] == [b"xx"] * 2
    for i, stream in enumerate(streams):
        assert len(list(stream)) == 3, i
    assert len(list(holding)) == len(list(stuck)) == 1
    assert max(repeating.together) > 3


def test_a_stream_ends_once_all_before_its_end_is_answered(repeating: Repeating) -> None:
    asking = Asking(b"a")
    stream = repeating.repeat(iter(asking), timeout=20)
    assert next(stream) == b"a a"
    asking.give(b"b")
    assert next(stream) == b"a b"
    asking.give(None)
    assert list(stream) == []
    assert stream.code() is grpc.StatusCode.OK
    assert list(repeating.repeat(iter(()), timeout=20)) == []
    assert repeating.ended == ["end", "end"]


def test_a_stream_that_nothing_moves_is_ended() -> None:
    repeating = Repeating(replace(BOUNDS, stream_idle_seconds=1.0))
    silent = repeating.repeat(iter(Asking()), timeout=20)
    paused = repeating.repeat(iter(Asking(b"a")), timeout=20)
    assert next(paused) == b"a a"
    moving = Asking(b"b")
    lively = repeating.repeat(iter(moving), timeout=20)
    for _ in range(8):  # twice as long
        assert next(lively) == b"b b"
        time.sleep(0.25)
        moving.give(b"b")
    for stream in (silent, paused):
        assert stream.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert stream.details() == "no request came in time"
    assert repeating.ended == ["gone, active"] * 2
    moving.give(None)
    assert list(lively) == [b"b b"]
    eventually(repeating.idle)
    repeating.channel.close()
    assert repeating.server.stop(5).wait(10)


def test_a_stream_whose_caller_takes_no_replies_is_ended() -> None:
    repeating = Repeating(replace(BOUNDS, stream_idle_seconds=1.0))
    stream = repeating.repeat(iter([b"large"] * 200), timeout=20)
    assert len(next(stream)) == LARGE
    eventually(repeating.idle)
    with pytest.raises(grpc.RpcError) as error:
        list(stream)
    assert error.value.code() is grpc.StatusCode.CANCELLED
    assert repeating.ended in GONE
    repeating.channel.close()
    assert repeating.server.stop(5).wait(10)


@pytest.mark.parametrize(
    ("request_", "code"), [(b"bad", grpc.StatusCode.INVALID_ARGUMENT), (b"defect", grpc.StatusCode.UNKNOWN)]
)
def test_what_ends_a_stream_comes_after_the_answers_before_it(
    repeating: Repeating, request_: bytes, code: grpc.StatusCode
) -> None:
    stream = repeating.repeat(iter([b"a", b"b", request_, b"c"]), timeout=20)
    replies = []
    with pytest.raises(grpc.RpcError) as error:
        replies.extend(stream)
    assert error.value.code() is code
    assert replies == [b"a a", b"a b"]
    eventually(repeating.idle)


def test_a_handler_hears_of_a_caller_who_goes_while_it_waits(repeating: Repeating) -> None:
    stream = repeating.repeat(iter(Asking(b"a")), timeout=20)
    assert next(stream) == b"a a"
    stream.cancel()
    eventually(lambda: repeating.ended)
    assert repeating.ended in GONE
    eventually(repeating.idle)


def test_a_deadline_ends_a_stream_that_waits(repeating: Repeating) -> None:
    stream = repeating.repeat(iter(Asking(b"a")), timeout=0.5)
    with pytest.raises(grpc.RpcError) as error:
        list(stream)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: repeating.ended)
    assert repeating.ended in GONE
    eventually(repeating.idle)


def test_a_caller_who_goes_while_it_is_answered_leaves_nothing(repeating: Repeating) -> None:
    stream = repeating.repeat(iter(Asking(b"a", b"hold", b"b")), timeout=20)
    assert repeating.held.wait(5)
    stream.cancel()
    time.sleep(0.2)
    repeating.release.set()
    eventually(repeating.idle)
    assert len(repeating.ended) == 1


def test_a_reader_that_is_slow_is_held_back_and_stops_no_other(repeating: Repeating) -> None:
    slow = repeating.repeat((b"large" for _ in range(2_000)), timeout=30)
    before = -1
    while sum(repeating.together) != before:
        before = sum(repeating.together)
        time.sleep(0.3)
    assert before * LARGE < 50_000_000  # the windows of HTTP/2, and what was computed beside the last
    for _ in range(20):
        assert repeating.double(b"x", timeout=5) == b"xx"
    assert len(list(repeating.repeat(iter(requests_of(1, 100)), timeout=10))) == 100
    assert list(map(len, slow)) == [LARGE] * 2_000
    eventually(repeating.idle)


def test_a_stream_is_answered_while_the_server_drains(repeating: Repeating) -> None:
    asking = Asking(b"a")
    stream = repeating.repeat(iter(asking), timeout=20)
    assert next(stream) == b"a a"
    stopped = repeating.server.stop(10)
    for request in (b"b", b"c"):
        asking.give(request)
        assert next(stream) == b"a " + request
    asking.give(None)
    assert list(stream) == []
    assert stopped.wait(3)
    assert repeating.ended == ["end"]


def test_a_stream_that_does_not_end_is_ended_with_the_grace_period(repeating: Repeating) -> None:
    stream = repeating.repeat(iter(Asking(b"a")), timeout=20)
    assert next(stream) == b"a a"
    began = time.monotonic()
    assert repeating.server.stop(0.5).wait(5)
    assert 0.4 < time.monotonic() - began < 3
    with pytest.raises(grpc.RpcError):
        next(stream)
    assert repeating.ended in GONE


def test_more_streams_than_may_be_open_are_refused_and_a_place_is_free_again(repeating: Repeating) -> None:
    asking = [Asking(b"a") for _ in range(BOUNDS.streams)]
    streams = [repeating.repeat(iter(one), timeout=20) for one in asking]
    for stream in streams:
        assert next(stream) == b"a a"
    with pytest.raises(grpc.RpcError) as error:
        next(repeating.repeat(iter([b"a"]), timeout=20))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for one in asking:
        one.give(None)
    assert [list(stream) for stream in streams] == [[]] * BOUNDS.streams
    eventually(repeating.idle)
    assert list(repeating.repeat(iter([b"a"]), timeout=20)) == [b"a a"]


def goes_early(stream: Any) -> None:
    stream.cancel()


def goes_after_an_answer(stream: Any) -> None:
    next(stream)
    stream.cancel()


def reads_all(stream: Any) -> None:
    assert len(list(stream)) == 40


@pytest.mark.parametrize("caller", [goes_early, goes_after_an_answer, reads_all])
def test_streams_leave_neither_objects_nor_threads(repeating: Repeating, caller: Callable[[Any], None]) -> None:
    reads_all(repeating.repeat(iter(requests_of(0, 40)), timeout=20))
    eventually(repeating.idle)
    before = threading.active_count()
    for i in range(100):
        caller(repeating.repeat(iter(requests_of(i, 40)), timeout=20))
        eventually(lambda: len(repeating.gate._streams) < BOUNDS.streams // 2)
    eventually(lambda: repeating.idle() and threading.active_count() <= before)
    gc.collect()
    assert [one for one in gc.get_objects() if isinstance(one, Stream)] == []


def test_a_method_whose_requests_alone_are_a_stream_cannot_be_answered_as_a_stream() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"Take": grpc.stream_unary_rpc_method_handler(lambda requests, context: b"")}
    server.add_registered_method_handlers("t.T", handlers)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"/t\.T/Take: not both its requests and its replies are a stream"):
        Gate(server, [], BOUNDS, streams=["/t.T/Take"])
