"""The store goes away, is slow, and comes back; health says so and deadlines hold."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from feature_repo.paths import DataPaths
from feature_repo.store import apply, materialize
from server.app import Running, start
from server.call import Call
from server.inference import grpc_service_pb2 as inference_pb2
from server.parse import RankQuery
from server.process.settings import Process
from server.ranker import Ranking
from shoprank.client import Client
from shoprank.errors import ServerError
from shoprank.v1 import ranking_pb2, ranking_pb2_grpc
from tests.conftest import Shop, settings
from tests.delaying_proxy import DelayingProxy
from tests.redis_server import RedisServer
from tests.serving import CANDIDATES, answers, eventually

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ("", "shoprank.v1.RankingService", "shoprank.v1.CatalogService")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


@pytest.fixture
def proxy(store: RedisServer) -> Iterator[DelayingProxy]:
    with DelayingProxy(store.port) as proxy:
        yield proxy


@pytest.fixture
def running(trained: Shop, store: RedisServer, proxy: DelayingProxy, tmp_path: Path) -> Iterator[Running]:
    """A server whose store is behind the proxy."""
    root = tmp_path / "data"
    shutil.copytree(trained.paths.root, root, ignore=shutil.ignore_patterns("feast", "dataset", "events"))
    paths = replace(trained.paths, root=root, redis=store.url)
    apply(paths, trained.models)
    list(materialize(paths, trained.schedule.test))
    process = Process(probe_seconds=0.1)
    server = start(settings(root, trained.models, redis=proxy.url, clock="snapshot", process=process))
    yield server
    server.stop()


def health(running: Running, name: str = "") -> int:
    with grpc.insecure_channel(running.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        status: int = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5).status
        return status


def inference_ready(running: Running) -> bool:
    """What the inference protocol says of the server."""
    with grpc.insecure_channel(running.address) as channel:
        ask: Any = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerReady", None, inference_pb2.ServerReadyResponse.FromString
        )
        return bool(ask(b"", timeout=5).ready)


def test_health_follows_the_store_away_and_back(running: Running, proxy: DelayingProxy) -> None:
    assert [health(running, name) for name in NAMES] == [SERVING] * 3
    assert inference_ready(running)
    proxy.cut()
    eventually(lambda: [health(running, name) for name in NAMES] == [NOT_SERVING] * 3)
    assert not inference_ready(running)
    with Client(running.address) as client, pytest.raises(ServerError, match="UNAVAILABLE"):
        client.rank("u1", CANDIDATES)
    proxy.mend()
    eventually(lambda: [health(running, name) for name in NAMES] == [SERVING] * 3)
    assert answers(running.address)


def test_a_store_that_lost_its_memory_is_not_ready_until_it_is_filled_again(
    running: Running, store: RedisServer, trained: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.client().flushall()
    eventually(lambda: [health(running, name) for name in NAMES] == [NOT_SERVING] * 3)
    assert "the online store has no items; run `shoprank materialize` first" in caplog.text
    paths = replace(trained.paths, root=tmp_path / "data", redis=store.url)
    list(materialize(paths, trained.schedule.test))
    eventually(lambda: [health(running, name) for name in NAMES] == [SERVING] * 3)
    assert answers(running.address)


def test_a_store_in_lmdb_that_is_removed_is_not_ready_until_there_is_another(
    trained: Shop, bare: DataPaths, caplog: pytest.LogCaptureFixture
) -> None:
    apply(bare, trained.models)
    list(materialize(bare, trained.schedule.test))
    process = Process(probe_seconds=0.1)
    running = start(settings(bare.root, trained.models, clock="snapshot", process=process))
    shutil.rmtree(bare.root / "feast" / "online")
    eventually(lambda: health(running) == NOT_SERVING)
    assert "the online store was removed" in caplog.text
    list(materialize(bare, trained.schedule.test))
    eventually(lambda: health(running) == SERVING)
    assert answers(running.address)
    running.stop()


def test_deadlines_hold_while_the_store_is_slow(running: Running, proxy: DelayingProxy) -> None:
    proxy.delay = 0.4
    with Client(running.address) as client:
        began = time.monotonic()
        with pytest.raises(ServerError, match="DEADLINE_EXCEEDED"):
            client.rank("u1", CANDIDATES, timeout=0.1)
        assert time.monotonic() - began < 0.3
        assert len(client.rank("u1", CANDIDATES, timeout=5)) == len(CANDIDATES)
    proxy.delay = 0.0
    assert answers(running.address)


def test_calls_that_nobody_waits_for_are_not_computed(
    running: Running, proxy: DelayingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the store slow, calls queue for threads until their deadlines have passed."""
    asked: list[str] = []
    rank_all = running.ranker.rank_all

    def noted(queries: Sequence[RankQuery], call: Call) -> Sequence[Ranking]:
        asked.extend(query.user_id for query in queries)
        return rank_all(queries, call)

    def noted_alone(query: RankQuery, call: Call) -> Ranking:
        return noted([query], call)[0]

    monkeypatch.setattr(running.ranker, "rank_all", noted)
    monkeypatch.setattr(running.ranker, "rank", noted_alone)
    proxy.delay = 0.5
    with grpc.insecure_channel(running.address) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        request = ranking_pb2.RankItemsRequest(user_id="u1", item_ids=CANDIDATES)
        first = [stub.RankItems.future(request, timeout=5)]
        eventually(lambda: len(asked) == 1)
        first.append(stub.RankItems.future(request, timeout=5))  # calls that wait are answered side by side
        eventually(lambda: len(asked) == 2)
        calls = [stub.RankItems.future(request, timeout=0.2) for _ in range(16)]
        assert {call.code() for call in calls if call.exception()} <= {
            grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED
        }  # fmt: skip
        assert [len(call.result().item_ids) for call in first] == [len(CANDIDATES)] * 2
    proxy.delay = 0.0
    eventually(lambda: answers(running.address))
    assert asked[:2] == ["u1", "u1"]
    assert len(asked) == 3  # those that threads had taken, and the question at the end


def test_a_store_that_hangs_does_not_hang_health(running: Running, store: RedisServer) -> None:
    store.pause()
    try:
        began = time.monotonic()
        eventually(lambda: health(running) == NOT_SERVING)
        assert time.monotonic() - began < 15
    finally:
        store.resume()
    eventually(lambda: health(running) == SERVING)
    assert answers(running.address)
