"""What is scraped is what was counted, by every worker, in a form that Prometheus takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from server.call import Call
from server.models.counts import Counts
from server.ranker import State, Status
from server.telemetry import registry
from server.telemetry.block import Block
from server.telemetry.collector import Collector
from server.telemetry.following import Following
from server.telemetry.recorder import MethodCells, Recorder
from server.telemetry.references import References
from server.telemetry.sampler import Sampler
from server.telemetry.slot import Slot
from shoprank.bundle import Manifest
from tests.promtool import promtool

RANK = "shoprank.v1.RankingService/RankItems"
NOTHING = np.zeros(0, np.float32)


@pytest.fixture
def block() -> Iterator[Block]:
    made = Block.create(2)
    yield made
    made.close()


@pytest.fixture
def exposed(block: Block, tmp_path: Path) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(Collector(block, "purchase", References(tmp_path), 3600, 1000))
    return found


def recorder(slot: Slot, tmp_path: Path) -> Recorder:
    return Recorder(slot, Sampler(slot, References(tmp_path), 0, 3600))


def text_of(exposed: CollectorRegistry) -> bytes:
    text: bytes = generate_latest(exposed)
    return text


def families(exposed: CollectorRegistry) -> dict[str, Metric]:
    text = text_of(exposed).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(exposed: CollectorRegistry, name: str, **labels: str) -> float | None:
    return exposed.get_sample_value(name, labels)


def test_every_metric_of_the_registry_is_exposed_with_its_help_type_and_labels(
    block: Block, exposed: CollectorRegistry, tmp_path: Path
) -> None:
    block.slot(0)
    found = families(exposed)
    assert set(found) == {metric.name.removesuffix("_total") for metric in registry.METRICS}
    for metric in registry.METRICS:
        family = found[metric.name.removesuffix("_total")]
        assert (family.documentation, family.type) == (metric.help, metric.type)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.label_names), sample


def test_promtool_finds_no_fault_in_the_exposition(block: Block, exposed: CollectorRegistry, tmp_path: Path) -> None:
    told = recorder(block.slot(0), tmp_path)
    told.began()
    told.ended(MethodCells.of(f"/{RANK}"), StatusCode.OK, Call(f"/{RANK}"))
    assert promtool("check", "metrics", stdin=text_of(exposed)) == ""


def test_openmetrics_is_served_too(block: Block, exposed: CollectorRegistry) -> None:
    block.slot(0)
    text = openmetrics.generate_latest(exposed).decode()  # type: ignore[no-untyped-call]
    found = openmetrics_parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    names = {family.name for family in found}
    assert {"shoprank_requests", "shoprank_request_duration_seconds"} <= names


def test_a_call_is_counted_by_method_and_code_with_its_phases(
    block: Block, exposed: CollectorRegistry, tmp_path: Path
) -> None:
    told, call = recorder(block.slot(0), tmp_path), Call(f"/{RANK}")
    told.began()
    assert value(exposed, "shoprank_requests_in_flight") == 1
    call.began -= 0.002  # it took two milliseconds, and a little
    call.mark("features")
    told.ended(MethodCells.of(f"/{RANK}"), StatusCode.NOT_FOUND, call)
    assert value(exposed, "shoprank_requests_in_flight") == 0
    assert value(exposed, "shoprank_requests_total", method=RANK, code="NOT_FOUND") == 1
    assert value(exposed, "shoprank_request_duration_seconds_count", method=RANK) == 1
    assert value(exposed, "shoprank_request_duration_seconds_bucket", method=RANK, le="0.002") == 0
    assert value(exposed, "shoprank_request_duration_seconds_bucket", method=RANK, le="2.5") == 1
    total = value(exposed, "shoprank_request_duration_seconds_sum", method=RANK)
    assert total is not None
    assert 0.002 < total < 1
    assert value(exposed, "shoprank_request_phase_seconds_count", phase="features") == 1
    assert value(exposed, "shoprank_request_phase_seconds_count", phase="parse") == 0


def test_a_method_of_another_service_is_counted_as_other(
    block: Block, exposed: CollectorRegistry, tmp_path: Path
) -> None:
    told = recorder(block.slot(0), tmp_path)
    told.ended(MethodCells.of("/grpc.reflection.v1alpha.ServerReflection/Info"), StatusCode.OK, Call("/x"))
    assert value(exposed, "shoprank_requests_total", method="other", code="OK") == 1


def test_counters_of_two_workers_are_summed(block: Block, exposed: CollectorRegistry, tmp_path: Path) -> None:
    for i in (0, 1):
        told = recorder(block.slot(i), tmp_path)
        for _ in range(i + 1):
            told.shed("queue")
    assert value(exposed, "shoprank_requests_shed_total", reason="queue") == 3


def test_an_answer_tells_what_it_rested_on(block: Block, exposed: CollectorRegistry, tmp_path: Path) -> None:
    told = recorder(block.slot(0), tmp_path)
    asked: Any = None  # no row is sampled
    told.answered(Status(State.STALE, 3_600, 7, 2, 1, 90_000), asked, np.zeros(8, np.float32), 1, "champion")
    told.answered(Status(State.MISSING, None, 0, 3, 0, None), asked, NOTHING, 1, "canary")
    rows = {
        (kind, state): value(exposed, "shoprank_feature_rows_total", kind=kind, state=state)
        for kind, state in registry.FEATURE_ROWS.series
    }
    assert rows == {
        ("user", "found"): 0, ("user", "stale"): 1, ("user", "missing"): 1,
        ("item", "found"): 7, ("item", "stale"): 1, ("item", "missing"): 5,
    }  # fmt: skip
    assert value(exposed, "shoprank_unknown_ids_total", kind="user") == 1
    assert value(exposed, "shoprank_unknown_ids_total", kind="item") == 5
    assert value(exposed, "shoprank_feature_age_seconds_bucket", kind="user", le="3600.0") == 1
    assert value(exposed, "shoprank_feature_age_seconds_sum", kind="item") == 90_000
    assert value(exposed, "shoprank_request_candidates_sum") == 8
    assert value(exposed, "shoprank_request_candidates_bucket", le="0.0") == 1
    assert value(exposed, "shoprank_model_answers_total", role="champion") == 1
    assert value(exposed, "shoprank_model_answers_total", role="canary") == 1


def test_the_state_of_a_killed_worker_does_not_count_and_what_it_counted_does(
    block: Block, exposed: CollectorRegistry
) -> None:
    code = (
        "import sys, os; from server.telemetry import registry; from server.telemetry.block import Block;"
        "from server.telemetry.layout import LAYOUT; slot = Block.attach(sys.argv[1]).slot(1);"
        "slot.add(LAYOUT.first(registry.IN_FLIGHT), 3); slot.add(LAYOUT.first(registry.STORE_ERRORS), 5);"
        "slot.put(LAYOUT.place(registry.VERSION, 'champion'), 9); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, block.name], check=False)
    block.slot(0)
    assert value(exposed, "shoprank_requests_in_flight") == 0
    assert value(exposed, "shoprank_store_errors_total") == 5
    assert families(exposed)["shoprank_model_info"].samples == []
    assert value(exposed, "shoprank_worker_up", worker="0") == 1
    assert value(exposed, "shoprank_worker_up", worker="1") == 0
    assert value(exposed, "shoprank_worker_starts_total", worker="1") == 1
    assert value(exposed, "shoprank_worker_resident_memory_bytes", worker="1") is None
    memory = value(exposed, "shoprank_worker_resident_memory_bytes", worker="0")
    assert memory is not None
    assert memory > 10_000_000


def test_a_worker_that_ended_in_order_is_not_missed(block: Block, exposed: CollectorRegistry) -> None:
    block.slot(0)
    block.slot(1).release()
    assert value(exposed, "shoprank_worker_up", worker="1") is None
    assert value(exposed, "shoprank_worker_starts_total", worker="1") == 1


def manifest(version: int) -> Manifest:
    created = f"2026-01-{version:02d}T00:00:00+00:00"
    return Manifest("purchase", version, "ranking", "sigmoid", created, (), (), "int64", "")


def test_versions_are_told_by_role(block: Block, exposed: CollectorRegistry, tmp_path: Path) -> None:
    first, second = (recorder(block.slot(i), tmp_path) for i in (0, 1))
    first.serving("champion", manifest(2))
    first.serving("canary", manifest(3))
    first.loaded([2, 3])
    second.serving("champion", manifest(1))
    second.loaded([1])
    served = {
        (s.labels["version"], s.labels["role"]): s.value for s in families(exposed)["shoprank_model_info"].samples
    }
    assert served == {("1", "champion"): 1, ("2", "champion"): 1, ("3", "canary"): 1}
    loaded = {s.labels["version"]: s.value for s in families(exposed)["shoprank_model_loaded"].samples}
    assert loaded == {"1": 1, "2": 1, "3": 1}
    assert value(exposed, "shoprank_model_created_timestamp_seconds", role="champion") == 1_767_225_600
    first.serving("canary", None)
    assert value(exposed, "shoprank_model_created_timestamp_seconds", role="canary") is None


def test_what_happened_to_a_model_is_counted_once(block: Block, exposed: CollectorRegistry, tmp_path: Path) -> None:
    active = SimpleNamespace(manifest=manifest(1))
    versions = SimpleNamespace(numbers=lambda: [1, 2])
    models: Any = SimpleNamespace(active=active, canary=None, shadow=None, counts=Counts(loads=1), versions=versions)
    following = Following(recorder(block.slot(0), tmp_path), models, lambda *_: None)
    following.look()
    models.counts.loads, models.counts.swaps, models.counts.shadow_failed = 2, 1, 5
    models.active = SimpleNamespace(manifest=manifest(2))
    following.look()
    following.look()
    assert value(exposed, "shoprank_model_loads_total") == 2
    assert value(exposed, "shoprank_model_swaps_total") == 1
    assert value(exposed, "shoprank_model_shadow_runs_total", outcome="failed") == 5
    assert value(exposed, "shoprank_model_shadow_runs_total", outcome="scored") == 0
    assert value(exposed, "shoprank_model_info", model="purchase", version="2", role="champion") == 1


def test_waits_and_the_certificate_are_told(block: Block, exposed: CollectorRegistry, tmp_path: Path) -> None:
    told = recorder(block.slot(0), tmp_path)
    told.certificate(1_900_000_000)
    told.queued(0.004)
    assert value(exposed, "shoprank_certificate_expiry_timestamp_seconds") == 1_900_000_000
    assert value(exposed, "shoprank_request_queue_seconds_sum") == pytest.approx(0.004)
