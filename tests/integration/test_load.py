"""The load generators against real servers that stall, fail or answer wrongly."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import grpc
import pytest

from benchmarks import servers
from benchmarks.cores import generator_cores, server_cores
from benchmarks.load.generator import Generator, generator
from benchmarks.load.job import METHOD, Client, Job
from benchmarks.load.traffic import Traffic
from benchmarks.workload import replies
from shoprank.v1.ranking_pb2 import RankItemsResponse

REPLY = RankItemsResponse(item_ids=["a"], probabilities=[1.0], purchase_probabilities=[0.5]).SerializeToString()
STALL = 1.0
CLIENTS: tuple[Client, ...] = get_args(Client)
Answer = Callable[[bytes, grpc.ServicerContext], bytes]


@pytest.fixture(scope="module")
def asking() -> Iterator[Generator]:
    with generator(generator_cores()) as started:
        yield started


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    Traffic([b"one", b"two"], [REPLY, REPLY]).write(tmp_path)
    return tmp_path


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A server that answers one call at a time."""
    started = grpc.server(ThreadPoolExecutor(1))
    service, _, method = METHOD[1:].partition("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
    started.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = started.add_insecure_port("127.0.0.1:0")
    started.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        started.stop(0).wait()


def stalling_once(after: int) -> Answer:
    """Answers at once, but for one call."""
    calls = itertools.count()

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        if next(calls) == after:
            time.sleep(STALL)
        return REPLY

    return answer


@pytest.mark.parametrize("client", CLIENTS)
def test_an_open_loop_charges_a_stall_to_every_call_that_was_due_meanwhile(
    asking: Generator, traffic: Path, client: Client
) -> None:
    with server(stalling_once(after=100)) as address:
        found = asking.measure(Job(address, str(traffic), seconds=3.0, rate=100.0, arrivals="constant", client=client))
    assert len(found.latency) == 300
    assert (found.latency > STALL * 1e3 / 2).sum() >= 40  # of the 100 due in a second, the first half
    assert found.latency.max() >= STALL * 1e3


def test_a_closed_loop_hides_it_in_one_call(asking: Generator, traffic: Path) -> None:
    with server(stalling_once(after=20)) as address:
        found = asking.measure(Job(address, str(traffic), seconds=2.0))
    assert (found.latency > STALL * 1e3 / 2).sum() <= 2
    assert found.latency.max() >= STALL * 1e3


def test_a_wrong_reply_makes_the_run_invalid(asking: Generator, traffic: Path) -> None:
    with server(lambda request, context: b"") as address:
        found = asking.measure(Job(address, str(traffic), seconds=0.3, check_every=1))
    assert found.wrong == found.checked > 0
    assert not found.summary()["valid"]


@pytest.mark.parametrize("client", CLIENTS)
def test_failed_calls_are_counted_by_code_and_make_the_run_invalid(
    asking: Generator, traffic: Path, client: Client
) -> None:
    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    with server(refuse) as address:
        found = asking.measure(Job(address, str(traffic), seconds=0.5, rate=50.0, arrivals="constant", client=client))
    assert found.errors == {"RESOURCE_EXHAUSTED": 25}
    assert not found.summary()["valid"]


@pytest.mark.parametrize("client", CLIENTS)
def test_replies_in_many_frames_are_compared_whole(asking: Generator, tmp_path: Path, client: Client) -> None:
    ids = [f"{i:0100d}" for i in range(2_000)]
    shares = [1 / len(ids)] * len(ids)
    reply = RankItemsResponse(item_ids=ids, probabilities=shares, purchase_probabilities=shares).SerializeToString()
    Traffic([b"a" * 10_000], [reply]).write(tmp_path)
    with server(lambda request, context: reply if len(request) == 10_000 else b"") as address:
        job = Job(address, str(tmp_path), seconds=1.0, rate=100.0, arrivals="constant", check_every=1, client=client)
        found = asking.measure(job)
    assert (found.checked, found.wrong) == (100, 0)


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_not_answered_in_time_counts_as_that(asking: Generator, traffic: Path, client: Client) -> None:
    with server(stalling_once(after=0)) as address:
        job = Job(address, str(traffic), 0.1, rate=100.0, arrivals="constant", timeout=STALL / 2, client=client)
        found = asking.measure(job)
    assert found.errors == {"DEADLINE_EXCEEDED": 10}


def test_several_generators_share_the_rate(traffic: Path) -> None:
    with server(lambda request, context: REPLY) as address, generator(generator_cores(), processes=2) as two:
        found = two.measure(Job(address, str(traffic), seconds=1.0, rate=60.0, arrivals="constant"))
    assert found.rate == 60.0
    assert len(found.latency) == 60
    assert found.wrong == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_the_floor_answers_with_what_was_recorded_for_the_request(tmp_path: Path, processes: int) -> None:
    traffic = Traffic([b"ask", b"ask again"], [b"first", b"second"])
    traffic.write(tmp_path)
    with servers.floor([tmp_path], server_cores(), processes) as address:
        for _ in range(5):
            assert replies(address, traffic.requests) == traffic.replies


def test_a_server_that_does_not_start_is_said_with_its_error() -> None:
    with (
        pytest.raises(SystemExit, match=r"did not start(.|\n)*no_such_module"),
        servers.process(["-m", "no_such_module"], server_cores()),
    ):
        pass
