"""Every metric, declared once: name, help, labels, buckets. Dashboards, alerts and the docs are held against it."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Final, Literal

import grpc

import shoprank.v1
from server.call import PHASES
from server.inference import grpc_service_pb2
from server.telemetry.metric import Computed, Counter, Gauge, Histogram, Label, Metric

Role = Literal["champion", "canary", "shadow"]
Kind = Literal["user", "item"]
State = Literal["found", "stale", "missing"]
Shed = Literal["queue", "overload", "deadline"]

OTHER: Final = "other"
"""The method of calls of services that are not ours, such as reflection."""


def service_methods() -> tuple[str, ...]:
    """`package.Service/Method` of every method in the stubs, sorted."""
    stubs = [m.name for m in pkgutil.iter_modules(shoprank.v1.__path__) if m.name.endswith("_pb2")]
    files = [importlib.import_module(f"shoprank.v1.{name}").DESCRIPTOR for name in stubs]
    services = [s for file in (*files, grpc_service_pb2.DESCRIPTOR) for s in file.services_by_name.values()]
    return tuple(sorted(f"{service.full_name}/{name}" for service in services for name in service.methods_by_name))


METHOD = Label("method", (*service_methods(), OTHER))
CODE = Label("code", tuple(code.name for code in grpc.StatusCode))
PHASE = Label("phase", PHASES)
ROLE = Label("role", ("champion", "canary", "shadow"))
KIND = Label("kind", ("user", "item"))
STATE = Label("state", ("found", "stale", "missing"))
REASON = Label("reason", ("queue", "overload", "deadline"))
OUTCOME = Label("outcome", ("scored", "failed", "dropped"))
PLACE = Label("place", tuple(map(str, range(8))))
"""Versions of a model that a worker can have in memory at once and name."""

HOUR, DAY = 3_600.0, 86_400.0
SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
PARTS_OF_SECONDS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)
AGES = (HOUR, 6 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 84 * DAY)
COUNTS = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0, 25_000.0, 100_000.0)
PROBABILITIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

REQUESTS = Counter("shoprank_requests_total", "Calls answered, by the gRPC code they ended with.", (METHOD, CODE))
DURATION = Histogram(
    "shoprank_request_duration_seconds",
    "Time from a call's arrival in its handler to its answer.",
    (METHOD,),
    SECONDS,
)
PHASE_SECONDS = Histogram(
    "shoprank_request_phase_seconds",
    "Time of a call spent in parsing, in reading features, in the model and in making the reply.",
    (PHASE,),
    PARTS_OF_SECONDS,
)
IN_FLIGHT = Gauge("shoprank_requests_in_flight", "Calls being answered now.")
QUEUE_SECONDS = Histogram(
    "shoprank_request_queue_seconds", "Time that a call waited for a thread.", (), PARTS_OF_SECONDS
)
SHED = Counter(
    "shoprank_requests_shed_total",
    "Calls turned away: at the gate before they were read (queue), inside (overload), too late to matter (deadline).",
    (REASON,),
)
FEATURE_ROWS = Counter(
    "shoprank_feature_rows_total", "Rows of features that answers rested on, by whether they were there.", (KIND, STATE)
)
UNKNOWN_IDS = Counter("shoprank_unknown_ids_total", "Ids of users and items in calls that nobody knows.", (KIND,))
FEATURE_AGE = Histogram(
    "shoprank_feature_age_seconds",
    "Age of features at the time of a call: the user's, and the oldest of its items'.",
    (KIND,),
    AGES,
)
CANDIDATES = Histogram("shoprank_request_candidates", "Items scored for a query.", (), COUNTS)
PROBABILITY = Histogram(
    "shoprank_purchase_probability", "Purchase probabilities in a sample of the calls.", (ROLE,), PROBABILITIES
)
ANSWERS = Counter("shoprank_model_answers_total", "Queries that a model answered, by its role.", (ROLE,))
LOADS = Counter("shoprank_model_loads_total", "Versions that a worker has loaded.")
SWAPS = Counter("shoprank_model_swaps_total", "Times a worker began to serve another version.")
REFUSALS = Counter("shoprank_model_refusals_total", "Times a worker refused a bundle and kept the former version.")
SHADOW_RUNS = Counter(
    "shoprank_model_shadow_runs_total", "Queries that the shadow was to answer too, by what became of it.", (OUTCOME,)
)
GARBLED = Counter("shoprank_model_traffic_garbled_total", "Traffic files that a worker could not understand.")
CREATED = Gauge(
    "shoprank_model_created_timestamp_seconds", "When the served model was trained, the oldest among workers.", (ROLE,),
    "least",
)  # fmt: skip
STORE_ERRORS = Counter("shoprank_store_errors_total", "Calls that failed because the online store did not answer.")
CERTIFICATE = Gauge("shoprank_certificate_expiry_timestamp_seconds", "When the server's certificate ends.", (), "least")
LINES_DROPPED = Counter("shoprank_log_lines_dropped_total", "Lines of calls that were not logged: too many a second.")
DRIFT_ROWS = Counter("shoprank_drift_rows_total", "Rows that were sampled to measure drift.")
DRIFT_DROPPED = Counter("shoprank_drift_rows_dropped_total", "Sampled rows left out because counting fell behind.")

VERSION = Gauge("version", "Version served in a role.", (ROLE,))
LOADED = Gauge("loaded", "Versions in memory.", (PLACE,))
READY = Gauge("ready", "Whether health says SERVING.")
PRIVATE: Final[tuple[Metric, ...]] = (VERSION, LOADED, READY)
"""Kept for each worker and not exposed as they are."""

MODEL_INFO = Computed(
    "shoprank_model_info", "Workers that serve the version in the role.", ("model", "version", "role")
)
MODEL_LOADED = Computed("shoprank_model_loaded", "Workers that have the version in memory.", ("model", "version"))
WORKER_UP = Computed("shoprank_worker_up", "Whether the worker's process lives.", ("worker",))
WORKER_READY = Computed("shoprank_worker_ready", "Whether the worker's health says SERVING.", ("worker",))
WORKER_STARTS = Computed("shoprank_worker_starts_total", "Times a worker was started.", ("worker",), "counter")
WORKER_MEMORY = Computed("shoprank_worker_resident_memory_bytes", "Memory the worker has in use.", ("worker",))
WORKER_CPU = Computed("shoprank_worker_cpu_seconds_total", "CPU time the worker has used.", ("worker",), "counter")
BUILD = Computed("shoprank_build_info", "Versions of the software.", ("version", "python", "grpcio", "onnxruntime"))
FEATURE_PSI = Computed(
    "shoprank_feature_psi",
    "Population stability index of a feature, served now against the model's reference; above 0.25 is a shift.",
    ("feature",),
)
SCORE_PSI = Computed("shoprank_score_psi", "Population stability index of the purchase probability.")
DRIFT_WINDOW = Computed("shoprank_drift_window_rows", "Rows that the population stability indices rest on.")

STORED: Final[tuple[Metric, ...]] = (
    REQUESTS, DURATION, PHASE_SECONDS, IN_FLIGHT, QUEUE_SECONDS, SHED, FEATURE_ROWS, UNKNOWN_IDS, FEATURE_AGE,
    CANDIDATES, PROBABILITY, ANSWERS, LOADS, SWAPS, REFUSALS, SHADOW_RUNS, GARBLED, CREATED,
    STORE_ERRORS, CERTIFICATE, LINES_DROPPED, DRIFT_ROWS, DRIFT_DROPPED,
)  # fmt: skip
COMPUTED: Final[tuple[Computed, ...]] = (
    MODEL_INFO, MODEL_LOADED, WORKER_UP, WORKER_READY, WORKER_STARTS, WORKER_MEMORY, WORKER_CPU, BUILD, FEATURE_PSI,
    SCORE_PSI, DRIFT_WINDOW,
)  # fmt: skip
METRICS: Final[tuple[Metric | Computed, ...]] = (*STORED, *COMPUTED)
