"""What telemetry costs a call: each part of it alone, in a loop; and all of it in the threads of a gRPC server.

Run as `python -m benchmarks.telemetry_cost`; writes benchmarks/results/telemetry.json. In a loop the processor has
everything at hand; in a server, between the work of gRPC's own threads, the same takes several times as long. Methods
with and without telemetry take turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import timeit
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from feature_repo import schema
from feature_repo.paths import write_json
from feature_repo.reference import Bins
from feature_repo.transforms import UserRow, assemble, item_rows
from server.call import PHASES, Call, current
from server.features import StoredItems
from server.items import Found, Shelf
from server.methods import Behaviour, Method, method_of, register
from server.ranker import State, Status
from server.settings import Settings
from server.telemetry.access import AccessLog
from server.telemetry.following import Following
from server.telemetry.instruments import Instruments, Threads
from server.telemetry.recorder import MethodCells
from server.telemetry.settings import Telemetry
from server.telemetry.tracing import Tracing
from server.telemetry.watch import Watch
from server.telemetry.window import Window
from server.towers import Asked
from shoprank.v1 import ranking_pb2

SERVICE = ranking_pb2.DESCRIPTOR.services_by_name["RankingService"]
RANK = SERVICE.methods_by_name["RankItems"]
CANDIDATES = 100
TIME = 1_512_345_600
ROUNDS, CALLS = 10, 1_000
STATUS = Status(State.FOUND, 3_600, 98, 1, 1, 90_000)
LOGITS = np.random.default_rng(0).normal(-4, 2, CANDIDATES).astype(np.float32)


class Context:
    """What a stage asks of gRPC's context, at no cost: the stage is measured, and not gRPC."""

    metadata = (("user-agent", "grpc-python/1.85"), ("x-request-id", "0123456789abcdef"))

    def invocation_metadata(self) -> Any:
        return self.metadata

    def is_active(self) -> bool:
        return True

    def code(self) -> None:
        return None

    def trailing_metadata(self) -> None:
        return None

    def set_trailing_metadata(self, metadata: Any) -> None:
        pass


def asked() -> Asked:
    """A query of a user nothing is known of for 100 items alike."""
    shelf = Shelf.empty(CANDIDATES, 0)
    rows = item_rows({}, CANDIDATES)
    at = np.full(CANDIDATES, TIME - 3_600)
    shelf.add(StoredItems([str(i) for i in range(CANDIDATES)], rows, at, []))
    return Asked(UserRow.unknown(), Found(shelf, np.arange(CANDIDATES), []), TIME)


ASKED = asked()
MODEL: Any = SimpleNamespace(manifest=SimpleNamespace(version=1))
MODELS: Any = SimpleNamespace(canary=None)
WINDOW = Window.private()
BINS = Bins(
    edges=np.sort(np.random.default_rng(0).normal(size=(len(schema.NUMERIC), 9)).astype(np.float32)),
    top=np.arange(20 * len(schema.CATEGORICAL)).reshape(-1, 20),
    known=(np.arange(1_000),) * len(schema.CATEGORICAL),
    score=np.linspace(0.1, 0.9, 9, dtype=np.float32),
)


def best(what: Callable[[], Any], number: int = 20_000) -> float:
    """Microseconds of one run, the best of seven times so many."""
    return min(timeit.repeat(what, number=number, repeat=7)) / number * 1e6


def parts() -> dict[str, float]:
    """Microseconds of what a call of RankItems passes, and of what happens beside it."""
    instruments = Instruments.start(Settings(telemetry={"metrics_port": 0, "drift_rows_per_second": 0.001}))
    recorder = instruments.recorder
    following = Following(recorder, MODELS, lambda *_: None)
    context: Any = Context()
    bare: Behaviour = lambda request, context: None  # noqa: E731
    watched = instruments.watch(method_of(RANK), bare)
    call, unmarked = Call("/"), Call("/")
    cells = MethodCells.of("/shoprank.v1.RankingService/RankItems")

    def marks() -> None:
        for phase in PHASES:
            call.mark(phase)

    found = {
        "the stage, around nothing": best(lambda: watched(None, context)) - best(lambda: bare(None, context)),
        "four marks of phases": best(marks),
    }
    found["their four histograms"] = best(lambda: recorder.ended(cells, grpc.StatusCode.OK, call)) - best(
        lambda: recorder.ended(cells, grpc.StatusCode.OK, unmarked)
    )
    found["what an answer rested on"] = best(lambda: following.answered("1", ASKED, LOGITS, MODEL, STATUS))
    found["the wait for a thread"] = best(lambda: recorder.queued(0.001))
    found["all of these"] = sum(found.values())
    for ratio, name in ((0.0, "a call that is not traced, where traces are on"), (1.0, "a call that is traced")):
        tracing = Tracing("", ratio, "0", Nowhere())
        traced = Watch(recorder, AccessLog(Telemetry(), recorder, str), tracing)(method_of(RANK), marked)
        found[name] = best(lambda: traced(None, context), 2_000) - best(lambda: watched(None, context))  # noqa: B023
        tracing.stop()
    found["a sampled row, in a thread beside"] = best(counted, 500)
    instruments.stop()
    return found


def marked(request: Any, context: grpc.ServicerContext) -> None:
    """A handler that tells of its phases."""
    call = current()
    for phase in PHASES[:-1]:
        call.mark(phase)


def counted() -> None:
    """What happens to a row that was sampled."""
    inputs = assemble(ASKED.user, ASKED.items.shelf.rows.take(ASKED.items.positions[:1]), TIME)
    WINDOW.add(BINS.count(inputs, LOGITS[:1]), 1, 1)


class Nowhere(SpanExporter):
    """Where spans go that nobody keeps."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Marked:
    """RankItems answers nothing, and tells telemetry what a ranker would; ScoreItems tells nothing."""

    def __init__(self, instruments: Instruments) -> None:
        self._following = Following(instruments.recorder, MODELS, lambda *_: None)

    def RankItems(self, request: Any, context: grpc.ServicerContext) -> bytes:
        call = current()
        for phase in PHASES[:-1]:
            call.mark(phase)
        self._following.answered("1", ASKED, LOGITS, MODEL, STATUS)
        return b""

    def ScoreItems(self, request: Any, context: grpc.ServicerContext) -> bytes:
        return b""


def serve() -> None:
    """A server of that. For each line of input, prints the CPU time of the calls since, in microseconds each."""
    instruments = Instruments.start(Settings(telemetry={"metrics_port": 0}))
    spent: list[int] = []

    def stage(method: Method, behaviour: Behaviour) -> Behaviour:
        inner = instruments.watch(method, behaviour) if method.name == "RankItems" else behaviour

        def timed(request: Any, context: grpc.ServicerContext) -> Any:
            began = time.thread_time_ns()
            reply = inner(request, context)
            spent.append(time.thread_time_ns() - began)
            return reply

        return timed

    server = grpc.server(Threads(8, instruments.recorder), options=[("grpc.so_reuseport", 0)])
    register(server, SERVICE, Marked(instruments), [stage])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    for _ in sys.stdin:
        print(json.dumps([nanoseconds / 1e3 for nanoseconds in spent]), flush=True)
        spent.clear()
    server.stop(1).wait()
    instruments.stop()


def served(rounds: int) -> dict[str, float]:
    """Microseconds of CPU time a call, median, without and with telemetry, with 16 calls in flight."""
    command = [sys.executable, "-m", "benchmarks.telemetry_cost", "--serve"]
    request = ranking_pb2.RankItemsRequest(user_id="1").SerializeToString()
    names = {"without": "ScoreItems", "with": "RankItems"}
    spent: dict[str, list[float]] = {name: [] for name in names}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        channel = grpc.insecure_channel(f"127.0.0.1:{int(server.stdout.readline())}")
        for turn in range(rounds + 1):
            for name, method in names.items():
                ask = channel.unary_unary(
                    f"/{SERVICE.full_name}/{method}", request_serializer=None, response_deserializer=None
                )
                waiting = deque(ask.future(request) for _ in range(16))
                for _ in range(CALLS):
                    waiting.popleft().result()
                    waiting.append(ask.future(request))
                for future in waiting:
                    future.result()
                server.stdin.write("\n")
                server.stdin.flush()
                taken = json.loads(server.stdout.readline())
                if turn:  # the first warms up
                    spent[name] += taken
        channel.close()
        server.stdin.close()
    medians = {name: float(np.median(taken)) for name, taken in spent.items()}
    return {**medians, "difference": medians["with"] - medians["without"]}


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="be the server")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    began = time.monotonic()
    result = {"microseconds": parts(), "microseconds_in_a_server": served(options.rounds)}
    for group in result.values():
        for name, value in group.items():
            print(f"{value:8.2f} µs  {name}")
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "telemetry.json", result)
    print(f"telemetry_cost: {options.out / 'telemetry.json'}, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
