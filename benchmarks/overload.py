"""What a server still answers when it is asked for twice what it can, by how it sheds the rest.

Run as `python -m benchmarks.overload`; writes benchmarks/results/overload.json and overload.png. The server is alone on
the first core, the load on the last. The peak is the most that it answers of the same traffic, asked for at rates about
what h2load gets out of it, before and after; the overload is an open loop with Poisson arrivals at twice the peak.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import servers
from benchmarks.cores import generator_cores, machine, server_cores
from benchmarks.load import h2load
from benchmarks.load.arrivals import F64
from benchmarks.load.generator import generator
from benchmarks.load.job import Job
from benchmarks.load.outcome import Outcome
from benchmarks.serving import BODIES, CONNECTIONS, Load
from benchmarks.shedding import VARIANTS
from feature_repo.paths import DataPaths, write_json
from shoprank.cli import OWN_POLLING

CANDIDATES = 100
ROUNDS = 5
ROUND_SECONDS = 2.0
NEAR = (0.8, 0.85, 0.9, 0.95, 1.0)
"""Rates at which the peak is looked for, in parts of h2load's: its few bodies lie in the processor's caches, so it is
more than a server answers of calls that differ."""
QUIET = 0.1
"""Part of the peak at which calls that come on a schedule meet an idle server, as a rule."""
DEADLINE = 5.0
RATIOS = {
    "overload_goodput_over_peak": "goodput_of_peak",
    "overload_p99_over_unloaded": "accepted_p99_of_unloaded",
}
RUNS = 3
"""Runs of the way that is shipped, for the machine may be slow for a minute, which the peaks beside it do not show."""
HOW = (
    "Server alone on the first core, load on the last. unloaded: one grpcio client, closed loop. closed loop: h2load, "
    f"{CONNECTIONS} connections with a call open on each, {BODIES} bodies; median of {ROUNDS} rounds. All else is an "
    "open loop with Poisson arrivals by a plain client of HTTP/2 (benchmarks/load/http2.py), for grpcio's cannot keep "
    "such a schedule. peak: the most answered a second at rates near the closed loop's, before and after the overload. "
    "overload: twice the peak before; goodput over the mean of both peaks, for the machine is not always as fast; "
    "latency of answered calls from the moment each was due; every tenth answer is compared. quiet: a tenth of the "
    "peak. CANCELLED is gRPC's core ending a call, RESOURCE_EXHAUSTED a refusal, with RetryInfo where the gate or a "
    "stage refuses. Once 2,000 calls were open for a second while more were due, the generator gives up: NOT_SENT are "
    "the calls it left out, and goodput is over the time to the last answer. The gate is run "
    f"{RUNS} times, each with a server of its own; figures are those of the run with the median goodput over the peak, "
    "ratios the medians of all runs."
)


def measure(variant: str, shop: servers.Shop, folder: Path, factor: float, seconds: float) -> dict[str, Any]:
    """Figures of one way to shed."""
    command = ["-m", "benchmarks.shedding", variant, str(shop.data), str(shop.model_repository)]
    with ExitStack() as stack:
        address = stack.enter_context(servers.process(command, server_cores(), OWN_POLLING))
        (server,) = [child for child in psutil.Process().children() if "benchmarks.shedding" in child.cmdline()]
        asking = stack.enter_context(generator(generator_cores()))
        load = Load.record(address, DataPaths(shop.data), CANDIDATES, folder)

        def ask(seconds: float, rate: float | None = None) -> Outcome:
            job = Job(address, str(load.folder), seconds, rate=rate, timeout=DEADLINE, client="plain")
            return asking.measure(job)

        def most() -> float:
            return max(ask(ROUND_SECONDS, closed * part).achieved for part in NEAR)

        ask(1.0)
        unloaded, rates = [], []
        for _ in range(ROUNDS):
            unloaded.append(ask(ROUND_SECONDS).latency)
            rates.append(h2load.throughput(address, load.bodies, CONNECTIONS, ROUND_SECONDS, generator_cores()))
        closed = float(np.median(rates))
        peak = most()
        quiet = ask(ROUNDS * ROUND_SECONDS, peak * QUIET)
        ask(ROUND_SECONDS, peak * factor)
        before = server.memory_info().rss
        overload = ask(seconds, peak * factor)
        after = server.memory_info().rss
        peak_after = most()
    return {"variant": variant, "closed_loop_per_second": closed} | figures(
        np.concatenate(unloaded), quiet.latency, (peak, peak_after), overload, (before, after)
    )


def figures(
    alone: F64, quiet: F64, peaks: tuple[float, float], overload: Outcome, memory: tuple[int, int]
) -> dict[str, Any]:
    """What was measured: milliseconds of calls that were alone and that came on a quiet schedule, the peaks a second
    and the memory in bytes before and after, and the overload."""
    p99, p99_quiet, p99_alone = (float(np.quantile(some, 0.99)) for some in (overload.latency, quiet, alone))
    return {
        "unloaded_median_ms": float(np.median(alone)),
        "unloaded_p99_ms": p99_alone,
        "peak_per_second": peaks[0],
        "peak_after_per_second": peaks[1],
        "offered_per_second": overload.rate,
        "sending_seconds": len(overload.late) / overload.rate,
        "goodput_per_second": overload.achieved,
        "goodput_of_peak": overload.achieved / float(np.mean(peaks)),
        "accepted_median_ms": float(np.median(overload.latency)),
        "accepted_p99_ms": p99,
        "accepted_p99_of_unloaded": p99 / p99_alone,
        "quiet_median_ms": float(np.median(quiet)),
        "quiet_p99_ms": p99_quiet,
        "answered": len(overload.latency),
        "not_answered": dict(overload.errors),
        "generator_cpu_share": overload.cpu_seconds / overload.seconds,
        "sent_late_p99_ms": float(np.quantile(overload.late, 0.99)),
        "checked": overload.checked,
        "wrong": overload.wrong,
        "memory_before_mb": memory[0] / 1e6,
        "memory_after_mb": memory[1] / 1e6,
    }


def middle(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run of the median goodput over the peak, with what the targets are about of all."""
    by_goodput = sorted(runs, key=lambda run: float(run["goodput_of_peak"]))
    return by_goodput[len(runs) // 2] | {"runs": {key: [run[key] for run in runs] for key in RATIOS.values()}}


def ratios(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What the targets are about, of the way that is shipped."""
    return {
        name: float(np.median(row["runs"][key]))
        for row in results
        if row["variant"] == "gate"
        for name, key in RATIOS.items()
    }


def describe(row: dict[str, Any]) -> str:
    """One line of a result."""
    return (
        f"{row['variant']}: peak {row['peak_per_second']:,.0f}/s, {row['peak_after_per_second']:,.0f}/s after; at "
        f"{row['offered_per_second']:,.0f}/s for {row['sending_seconds']:.0f} s goodput "
        f"{row['goodput_per_second']:,.0f}/s, {row['goodput_of_peak']:.0%} "
        f"of the peak; of what was answered, median {row['accepted_median_ms']:.1f} ms, 99 % below "
        f"{row['accepted_p99_ms']:.1f} ms, {row['accepted_p99_of_unloaded']:.1f}× the unloaded "
        f"{row['unloaded_p99_ms']:.1f} ms ({row['quiet_p99_ms']:.1f} ms on a schedule of a tenth of the peak); "
        f"{row['not_answered']}; {row['wrong']} of {row['checked']} wrong; memory {row['memory_before_mb']:.0f} to "
        f"{row['memory_after_mb']:.0f} MB; the generator was busy {row['generator_cpu_share']:.0%} of the time"
    )


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Goodput beside the peak, and latency of what was answered, by way to shed."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    names = [row["variant"] for row in results]
    left.barh(names, [row["goodput_of_peak"] for row in results], color="C0")
    left.axvline(0.9, color="C7", linestyle=":")
    left.set(xlabel="goodput / peak", title="asked for twice the peak")
    right.barh(names, [row["accepted_p99_ms"] for row in results], color="C1", label="overloaded")
    right.barh(names, [row["unloaded_p99_ms"] for row in results], color="C0", label="unloaded", height=0.4)
    right.set(xlabel="milliseconds", xscale="log", title="99th percentile, answered")
    right.legend()
    for axes in (left, right):
        axes.invert_yaxis()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    h2load.installed()
    shop = servers.Shop(options.data, options.model_repository)
    results = []
    for variant in options.variants:
        runs = []
        for _ in range(RUNS if variant == "gate" else 1):
            with tempfile.TemporaryDirectory(prefix="shoprank-") as folder:
                runs.append(measure(variant, shop, Path(folder), options.factor, options.seconds))
            print(describe(runs[-1]), flush=True)
        results.append(middle(runs))
    options.out.mkdir(parents=True, exist_ok=True)
    kept = {
        "how": HOW, "machine": machine(), "candidates": CANDIDATES, "seconds": options.seconds, "results": results,
        "ratios": ratios(results),
    }  # fmt: skip
    write_json(options.out / "overload.json", kept)
    plot(results, options.out / "overload.png")
    print(f"overload: {options.out / 'overload.json'} and {options.out / 'overload.png'}")


if __name__ == "__main__":
    main()
