"""Limits on clients, ages of connections, and time, on a server as it is started."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from server import app
from server.app import Running, start
from server.process.settings import Limits, Process
from shoprank.client import Client
from shoprank.errors import ServerError, UserError
from shoprank.results import FeatureState
from shoprank.v1 import ranking_pb2, ranking_pb2_grpc
from tests.conftest import Shop, settings
from tests.serving import CANDIDATES, Callers

TURNED_AWAY = {
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNAVAILABLE,  # a new connection's calls beyond its limit, sent before it has heard of that: refused
}
REQUEST = ranking_pb2.RankItemsRequest(user_id="u1", item_ids=CANDIDATES)


@contextmanager
def served(trained: Shop, **more: Any) -> Iterator[Running]:
    running = start(settings(trained.paths.root, trained.models, clock="snapshot", **more))
    try:
        yield running
    finally:
        running.stop()


def retry_seconds(error: grpc.RpcError) -> float:
    """When the server says to ask again."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    info = error_details_pb2.RetryInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return float(info.retry_delay.ToMilliseconds()) / 1e3


def test_a_client_that_asks_too_often_is_told_when_to_come_again(trained: Shop) -> None:
    with (
        served(trained, limits=Limits(client_rate=5, client_burst=3)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        for _ in range(3):
            stub.RankItems(REQUEST, timeout=5)
        with pytest.raises(grpc.RpcError) as error:
            stub.RankItems(REQUEST, timeout=5)
        wait = retry_seconds(error.value)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 0 < wait <= 0.2
        time.sleep(wait + 0.05)
        assert len(stub.RankItems(REQUEST, timeout=5).item_ids) == len(CANDIDATES)


def test_every_ranking_of_a_batch_counts(trained: Shop) -> None:
    with (
        served(trained, limits=Limits(client_rate=5, client_burst=3)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        batch = ranking_pb2.BatchRankItemsRequest(requests=[REQUEST] * 8)
        assert len(stub.BatchRankItems(batch, timeout=5).responses) == 8
        with pytest.raises(grpc.RpcError) as error:
            stub.RankItems(REQUEST, timeout=5)
        wait = retry_seconds(error.value)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 0.2 < wait <= 1.2  # five are owed, and one: more than a call's 0.2 s
        time.sleep(wait + 0.05)
        assert len(stub.RankItems(REQUEST, timeout=5).item_ids) == len(CANDIDATES)


@pytest.mark.parametrize("gate", [True, False])
def test_a_stream_that_asks_too_often_ends_once_what_came_before_is_answered(trained: Shop, gate: bool) -> None:
    with (
        served(trained, limits=Limits(client_rate=0.2, client_burst=3, gate=gate)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        asking: SimpleQueue[ranking_pb2.RankItemsRequest | None] = SimpleQueue()
        replies = iter(stub.StreamRankItems(iter(asking.get, None), timeout=20))
        for _ in range(3):
            asking.put(REQUEST)
            assert len(next(replies).item_ids) == len(CANDIDATES)
        asking.put(REQUEST)
        with pytest.raises(grpc.RpcError) as error:
            next(replies)
        asking.put(None)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 0 < retry_seconds(error.value) <= 5


def test_connections_that_grow_old_are_replaced_without_a_failed_call(trained: Shop) -> None:
    with served(trained, limits=Limits(connection_age_seconds=0.5)) as running:
        with Callers(running.address, number=4) as callers:
            time.sleep(2.5)
        assert callers.failures() == {}
        assert callers.outcomes["answered"] > 100


def test_more_candidates_than_allowed_are_refused(trained: Shop) -> None:
    with served(trained, max_candidates=10) as running, Client(running.address) as client:
        with pytest.raises(UserError, match="item_ids has 11 entries, at most 10 are allowed"):
            client.rank("u1", CANDIDATES[:11])
        assert len(client.rank("u1", CANDIDATES[:10])) == 10


HEALTH_AGAIN = {
    "methodConfig": [
        {
            "name": [{"service": "grpc.health.v1.Health"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


def test_health_answers_while_more_is_asked_than_can_be_answered(
    trained: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(trained) as running:
        release = threading.Event()
        rank = running.ranker.rank
        monkeypatch.setattr(running.ranker, "rank", lambda *query: (release.wait(10), rank(*query))[1])
        # A stream that begins while another ends, at the limit, may be refused (UNAVAILABLE), and is begun again.
        with grpc.insecure_channel(running.address, [("grpc.service_config", json.dumps(HEALTH_AGAIN))]) as channel:
            stub, health = ranking_pb2_grpc.RankingServiceStub(channel), health_pb2_grpc.HealthStub(channel)
            # A connection that has answered knows its limit of calls: none of them is refused for being one too many.
            health.Check(health_pb2.HealthCheckRequest(), timeout=5)
            calls = [stub.RankItems.future(REQUEST, timeout=20) for _ in range(200)]
            for _ in range(20):
                began = time.monotonic()
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=2)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
                assert time.monotonic() - began < 1
            release.set()
            codes = [call.code() for call in calls if call.exception() or True]
        assert codes.count(grpc.StatusCode.OK) >= 10
        assert set(codes) <= {grpc.StatusCode.OK, *TURNED_AWAY}


def test_while_it_drains_health_says_so_and_calls_are_answered(trained: Shop) -> None:
    running = start(settings(trained.paths.root, trained.models, process=Process(drain_seconds=1.0)))
    stopping = threading.Thread(target=running.stop)
    with grpc.insecure_channel(running.address) as channel, Client(running.address) as client:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        began = time.monotonic()
        stopping.start()
        time.sleep(0.2)
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert len(client.rank("u1", CANDIDATES)) == len(CANDIDATES)
        stopping.join(10)
        assert time.monotonic() - began >= 1.0


class JumpingTime:
    """Stands for the module `time` in `server.app`: its wall clock is what a test says."""

    sleep = staticmethod(time.sleep)

    def __init__(self, *walls: float) -> None:
        self._walls = itertools.cycle(walls)

    def time(self) -> float:
        return next(self._walls)


def test_the_wall_clock_may_jump_between_calls(trained: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages of features follow it and are never below 0; deadlines and limits go by the monotonic clock."""
    cutoff = trained.schedule.test.timestamp()
    monkeypatch.setattr(app, "time", JumpingTime(cutoff + 86_400, cutoff - 10 * 86_400, cutoff + 30 * 86_400))
    running = start(settings(trained.paths.root, trained.models, limits=Limits(client_rate=1_000)))
    try:
        with Client(running.address) as client:
            ages = [client.rank("u1", CANDIDATES, timeout=2).feature_status for _ in range(30)]
    finally:
        running.stop()
    days = {age.items_age.days for age in ages if age.items_age is not None}
    assert days == {1, 0, 30}
    assert {age.user for age in ages} == {FeatureState.FOUND, FeatureState.STALE}


def test_a_client_of_several_connections_asks_them_in_turn(trained: Shop) -> None:
    with served(trained) as running, Client(running.address, connections=3) as client:
        for _ in range(9):
            assert len(client.rank("u1", CANDIDATES)) == len(CANDIDATES)
        assert len(client._channels) == 3
    with pytest.raises(UserError, match="connections: at least 1 is needed, not 0"):
        Client("127.0.0.1:1", connections=0)


def test_without_the_gate_the_server_answers_too(trained: Shop) -> None:
    with served(trained, limits=Limits(gate=False), threads=4) as running:
        with Callers(running.address, number=8) as callers:
            time.sleep(1)
        assert callers.failures() == {}


def test_an_unanswered_call_says_so(trained: Shop) -> None:
    with served(trained) as running:
        running.stop()
        with Client(running.address, timeout=1) as client, pytest.raises(ServerError):
            client.rank("u1", CANDIDATES)


def test_streams_beyond_their_limit_are_refused_and_others_pass(trained: Shop) -> None:
    with (
        served(trained, limits=Limits(streaming=2)) as running,
        grpc.insecure_channel(running.address) as channel,
        Client(running.address) as client,
    ):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        never = threading.Event()

        def requests() -> Iterator[ranking_pb2.RankItemsRequest]:
            never.wait(20)
            yield from ()

        streams = [stub.StreamRankItems(requests(), timeout=20) for _ in range(2)]
        time.sleep(0.3)
        with pytest.raises(grpc.RpcError) as error:
            next(iter(stub.StreamRankItems(requests(), timeout=20)))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(client.rank("u1", CANDIDATES)) == len(CANDIDATES)
        never.set()
        assert [list(stream) for stream in streams] == [[], []]
