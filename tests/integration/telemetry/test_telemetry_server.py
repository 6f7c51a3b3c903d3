"""A real server, scraped over HTTP after calls that ended in every way."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from server.app import start
from server.process.context import Context
from shoprank import Client, InvalidRequest, bundle, traffic
from shoprank.errors import FeatureStoreError, Overloaded, TooLate
from shoprank.traffic import Share, Traffic
from shoprank.v1 import ranking_pb2, ranking_pb2_grpc
from tests.conftest import Shop, settings
from tests.integration.telemetry.conftest import Measured
from tests.serving import eventually

RANK = "shoprank.v1.RankingService/RankItems"
STREAM = "shoprank.v1.RankingService/StreamRankItems"
SCORE = "shoprank.v1.RankingService/ScoreItems"
ITEMS = [f"i{i}" for i in range(40)]
REQUEST = ranking_pb2.RankItemsRequest(user_id="u1", item_ids=ITEMS)
Begin = Callable[..., Measured]


def requests(server: Measured, method: str, code: str) -> float:
    return server.value("shoprank_requests_total", method=method, code=code)


def test_a_slate_is_counted_with_the_phases_of_its_own(measured: Begin) -> None:
    server = measured()
    with Client(server.address, timeout=10) as client:
        client.recommend("u1")
        client.similar("i1")
        with pytest.raises(InvalidRequest):
            client.recommend("")
    slates = "shoprank.v1.RecommendationService/RecommendItems"
    assert requests(server, slates, "OK") == requests(server, slates, "INVALID_ARGUMENT") == 1
    assert requests(server, "shoprank.v1.RecommendationService/SimilarItems", "OK") == 1
    counts = {"parse": 2, "features": 1, "retrieval": 2, "inference": 1, "rules": 1}
    for phase, count in counts.items():
        assert server.value("shoprank_request_phase_seconds_count", phase=phase) == count, phase


def test_calls_are_counted_by_how_they_ended(measured: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    server = measured()
    with Client(server.address, timeout=10) as client:
        client.rank("u1", ITEMS)
        client.rank("u2", [*ITEMS, "nobody sells this"])
        client.score("nobody", ITEMS[:3])
        client.items(["i1"])
        with pytest.raises(InvalidRequest):
            client.rank("", ITEMS)
    for error, code in (
        (FeatureStoreError("away"), "UNAVAILABLE"),
        (Overloaded("enough to do", 1.0), "RESOURCE_EXHAUSTED"),
        (TooLate("nobody waits"), "DEADLINE_EXCEEDED"),
        (RuntimeError("a defect"), "INTERNAL"),
    ):

        def fail(*_: Any, error: Exception = error) -> Any:
            raise error

        with monkeypatch.context() as patch, grpc.insecure_channel(server.address) as channel:
            patch.setattr(server.running.ranker, "rank", fail)
            with pytest.raises(grpc.RpcError, match=code):
                ranking_pb2_grpc.RankingServiceStub(channel).RankItems(REQUEST)
        assert requests(server, RANK, code) == 1, code
    assert requests(server, RANK, "OK") == 2
    assert requests(server, RANK, "INVALID_ARGUMENT") == 1
    assert requests(server, SCORE, "OK") == 1
    assert requests(server, "shoprank.v1.CatalogService/GetItems", "OK") == 1
    assert server.value("shoprank_store_errors_total") == 1
    assert server.value("shoprank_requests_shed_total", reason="overload") == 1
    assert server.value("shoprank_requests_shed_total", reason="deadline") == 1
    assert server.value("shoprank_requests_in_flight") == 0
    assert server.value("shoprank_request_duration_seconds_count", method=RANK) == 7
    for phase in ("parse", "features", "inference", "reply"):
        assert server.value("shoprank_request_phase_seconds_count", phase=phase) >= 3, phase
    assert server.value("shoprank_request_queue_seconds_count") >= 9


def test_a_stream_is_one_call_however_it_ends(measured: Begin) -> None:
    server = measured()
    never = threading.Event()

    def open_ended() -> Iterator[ranking_pb2.RankItemsRequest]:
        yield from [REQUEST] * 3
        never.wait(10)

    with grpc.insecure_channel(server.address) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        ended = stub.StreamRankItems(iter([REQUEST] * 20), timeout=10)
        assert len(list(ended)) == 20
        assert dict(ended.trailing_metadata())["x-request-id"]
        left: Any = stub.StreamRankItems(open_ended(), timeout=10)
        assert len([next(left) for _ in range(3)]) == 3
        assert server.value("shoprank_requests_in_flight") == 1
        left.cancel()
        with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
            list(stub.StreamRankItems(open_ended(), timeout=0.5))
    never.set()
    # gRPC says that no request will come before it says that a caller has gone: then a stream may end as OK.
    codes = ("OK", "CANCELLED", "DEADLINE_EXCEEDED")
    eventually(lambda: sum(requests(server, STREAM, code) for code in codes) == 3)
    assert requests(server, STREAM, "OK") >= 1
    assert server.value("shoprank_request_duration_seconds_count", method=STREAM) == 3
    assert server.value("shoprank_requests_in_flight") == 0
    assert server.value("shoprank_request_queue_seconds_count") == 3
    for phase in ("parse", "features", "inference", "reply"):
        assert server.value("shoprank_request_phase_seconds_count", phase=phase) >= 1, phase


def test_a_call_whose_caller_has_gone_is_counted_as_its_caller_saw_it(
    measured: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = measured()
    begun, release, gone = threading.Event(), threading.Event(), threading.Semaphore(0)
    closed = Context._closed

    def slow(*_: Any) -> Any:
        begun.set()
        release.wait(10)
        raise RuntimeError("the caller has gone")

    def heard(context: Context, event: Any) -> Any:
        told = closed(context, event)
        gone.release()
        return told

    monkeypatch.setattr(server.running.ranker, "rank", slow)
    monkeypatch.setattr(Context, "_closed", heard)
    with grpc.insecure_channel(server.address) as channel:
        asked = ranking_pb2_grpc.RankingServiceStub(channel).RankItems.future(REQUEST)
        assert begun.wait(5)
        assert server.value("shoprank_requests_in_flight") == 1
        asked.cancel()  # type: ignore[no-untyped-call]
        begun.clear()
        late = ranking_pb2_grpc.RankingServiceStub(channel).RankItems.future(REQUEST, timeout=0.3)
        assert begun.wait(5)
        with pytest.raises(grpc.RpcError):
            late.result()
        for _ in (asked, late):  # the caller knows before the server does
            assert gone.acquire(timeout=5)
        release.set()
    for code in ("CANCELLED", "DEADLINE_EXCEEDED"):
        wait_for(lambda code=code: requests(server, RANK, code) == 1)  # type: ignore[misc]
    assert server.value("shoprank_requests_in_flight") == 0


def test_answers_tell_what_they_rested_on(measured: Begin) -> None:
    server = measured()
    with Client(server.address, timeout=10) as client:
        client.rank("u1", [*ITEMS, "nobody sells this"])
        client.score("nobody", ITEMS[:3])
        client.items(["i1", "nobody sells this", "nor this"])
    assert server.value("shoprank_feature_rows_total", kind="item", state="found") == 43
    assert server.value("shoprank_feature_rows_total", kind="item", state="missing") == 1
    assert server.value("shoprank_feature_rows_total", kind="user", state="found") == 1
    assert server.value("shoprank_feature_rows_total", kind="user", state="missing") == 1
    assert server.value("shoprank_unknown_ids_total", kind="item") == 3
    assert server.value("shoprank_request_candidates_sum") == 43
    assert server.value("shoprank_model_answers_total", role="champion") == 2
    assert server.value("shoprank_model_info", model="purchase", version="1", role="champion") == 1
    assert server.value("shoprank_worker_ready", worker="0") == 1


def test_what_answers_rested_on_is_what_their_replies_say(measured: Begin, trained: Shop) -> None:
    """Found, stale and missing of users known and unknown, when features are fresh and when they are old."""
    server = measured()
    rows: Counter[tuple[str, str]] = Counter()
    ages: Counter[str] = Counter()
    with Client(server.address, timeout=10) as client:
        for user in ("u1", "u7", "nobody"):
            for days in (0, 3, 20):
                at = trained.schedule.test + timedelta(days=days)
                status = client.score(user, [*ITEMS[: 5 + days], "nobody sells this"], time=at).feature_status
                rows["user", status.user.value] += 1
                rows["item", "found"] += status.items_found
                rows["item", "stale"] += status.items_stale
                rows["item", "missing"] += status.items_missing
                for kind, age in (("user", status.user_age), ("item", status.items_age)):
                    ages[kind] += int(age.total_seconds()) if age else 0
    for (kind, state), count in rows.items():
        assert server.value("shoprank_feature_rows_total", kind=kind, state=state) == count, (kind, state)
    for kind, seconds in ages.items():
        assert server.value("shoprank_feature_age_seconds_sum", kind=kind) == seconds, kind
    assert min(rows.values()) > 0


def test_a_canarys_answers_are_told_apart(trained: Shop, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(trained.models, models, symlinks=True)
    second = models / "purchase" / "2"
    shutil.copytree(models / "purchase" / "1", second)
    manifest = json.loads((second / bundle.MANIFEST).read_text())
    (second / bundle.MANIFEST).write_text(json.dumps({**manifest, "version": 2}))
    traffic.write(models / "purchase", Traffic(canary=Share(2, traffic.STEPS // 2)))
    running = start(settings(trained.paths.root, models, clock="snapshot", telemetry={"metrics_port": 0}))
    exposition = running.instruments.exposition
    assert exposition is not None
    server = Measured(running, exposition.address)
    wait_for(lambda: server.value("shoprank_model_info", model="purchase", version="2", role="canary") == 1, 15)
    with Client(running.address, timeout=10) as client:
        by = Counter(client.score(f"u{u}", ITEMS[:3]).served_by.model_version for u in range(60))
    assert by[1] > 10
    assert by[2] > 10
    assert server.value("shoprank_model_answers_total", role="champion") == by[1]
    assert server.value("shoprank_model_answers_total", role="canary") == by[2]
    wait_for(lambda: server.value("shoprank_model_loads_total") == 2)
    running.stop()


def test_the_sampled_probabilities_are_those_that_were_answered(measured: Begin) -> None:
    server = measured(drift_rows_per_second=100)
    with Client(server.address, timeout=10) as client:
        scores = client.score("u1", ITEMS)
    wait_for(lambda: server.value("shoprank_purchase_probability_count", role="champion") == len(ITEMS))
    total = server.value("shoprank_purchase_probability_sum", role="champion")
    assert total == pytest.approx(sum(s.probability for s in scores), rel=1e-5)


def test_calls_that_the_gate_turns_away_and_waits_behind_it_are_counted(
    trained: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"burst": 1, "queue": 1, "pending": 64, "refusals_per_second": 1_000}
    given = settings(trained.paths.root, trained.models, threads=1, telemetry={"metrics_port": 0}, limits=limits)
    running = start(given)
    exposition = running.instruments.exposition
    assert exposition is not None
    server, release = Measured(running, exposition.address), threading.Event()

    def slow(rank: Any, *given: Any) -> Any:
        release.wait(5)
        return rank(*given)

    for name in ("rank", "rank_all"):  # of one call, of several side by side
        monkeypatch.setattr(running.ranker, name, partial(slow, getattr(running.ranker, name)))
    with grpc.insecure_channel(running.address) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        asked = [stub.RankItems.future(REQUEST)]
        wait_for(lambda: server.value("shoprank_requests_in_flight") == 1)
        asked += [stub.RankItems.future(REQUEST) for _ in range(19)]
        wait_for(lambda: sum(call.done() for call in asked) >= 10)
        release.set()
        codes = Counter(call.code() for call in asked)
    refused = codes[grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert refused >= 10
    assert server.value("shoprank_requests_shed_total", reason="queue") == refused
    assert requests(server, RANK, "OK") == codes[grpc.StatusCode.OK] == 20 - refused
    assert server.value("shoprank_request_queue_seconds_count") == 20 - refused
    assert server.value("shoprank_request_queue_seconds_sum") > 0.01
    running.stop()


def test_a_store_that_is_away_is_told_though_nobody_calls(trained: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    process = {"probe_seconds": 0.05}
    running = start(settings(trained.paths.root, trained.models, telemetry={"metrics_port": 0}, process=process))
    exposition = running.instruments.exposition
    assert exposition is not None
    server = Measured(running, exposition.address)
    assert server.value("shoprank_worker_ready", worker="0") == 1

    def away() -> int:
        raise FeatureStoreError("away")

    with monkeypatch.context() as patch:
        patch.setitem(running._readiness._checks, "store", away)
        wait_for(lambda: server.value("shoprank_worker_ready", worker="0") == 0)
    wait_for(lambda: server.value("shoprank_worker_ready", worker="0") == 1)
    running.stop()


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Fail unless it comes true in time."""
    ended = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        ended.wait(0.05)
    assert condition()
