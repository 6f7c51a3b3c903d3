"""What a server still answers when it is asked for twice what it can, and how it comes to shed the rest.

Run as `python -m benchmarks.overload`; writes benchmarks/results/overload.json and overload.png. One worker on one
core, the load on another: open loop, arrivals by a Poisson process, from four connections. Every answer is held against
the bytes that the same request got before the load.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from benchmarks.serving import METHOD, requests
from benchmarks.shedding import VARIANTS
from feature_repo.paths import DataPaths, write_json

CANDIDATES = 100
CONNECTIONS = 4
CALLERS = 6
DEADLINE = 5.0
Channels = list[Any]


@dataclass
class Outcome:
    """What became of the calls of one load: seconds each took, by status code, and answers that were wrong."""

    taken: dict[str, list[float]] = field(default_factory=dict)
    wrong: int = 0
    refused_with_retry_info: int = 0

    def note(self, code: str, seconds: float) -> None:
        self.taken.setdefault(code, []).append(seconds)

    def quantile(self, q: float) -> float:
        """Milliseconds of the answered calls."""
        return float(np.quantile(self.taken.get("OK", [0.0]), q) * 1e3)

    def codes(self) -> dict[str, int]:
        return {code: len(taken) for code, taken in sorted(self.taken.items())}


class Load:
    """Asks one server."""

    def __init__(self, address: str, asked: Sequence[bytes]) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        self._channels = [grpc.insecure_channel(address, options) for _ in range(CONNECTIONS)]
        self._calls: list[Any] = [channel.unary_unary(METHOD, None, None) for channel in self._channels]
        self._asked = asked
        self._right = [self._calls[0](request) for request in asked]

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def unloaded(self, count: int) -> Outcome:
        """One call after another."""
        outcome = Outcome()
        for i in range(count):
            began = time.perf_counter()
            self._calls[i % CONNECTIONS](self._asked[i % len(self._asked)])
            outcome.note("OK", time.perf_counter() - began)
        return outcome

    def peak(self, seconds: float) -> float:
        """Calls a second of so many callers that ask again when they have their answer."""
        done = Counter[int]()
        end = time.perf_counter() + seconds

        def run(caller: int) -> None:
            while time.perf_counter() < end:
                with suppress(grpc.RpcError):
                    self._calls[caller % CONNECTIONS](self._asked[done[caller] % len(self._asked)])
                    done[caller] += 1

        threads = [threading.Thread(target=run, args=(caller,)) for caller in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return done.total() / seconds

    def arrivals(self, rate: float, seconds: float, seed: int = 0) -> Outcome:
        """So many calls a second, whether or not earlier ones were answered."""
        outcome = Outcome()
        due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds)))
        open_calls = threading.Semaphore(0)
        start = time.perf_counter()
        for i, at in enumerate(due.tolist()):
            if (pause := start + at - time.perf_counter()) > 0:
                time.sleep(pause)
            which = i % len(self._asked)
            future = self._calls[i % CONNECTIONS].future(self._asked[which], timeout=DEADLINE)
            future.add_done_callback(self._noted(outcome, which, open_calls))
        for _ in due:
            open_calls.acquire()
        return outcome

    def _noted(self, outcome: Outcome, which: int, open_calls: threading.Semaphore) -> Any:
        began = time.perf_counter()

        def note(future: Any) -> None:
            code = future.code()
            outcome.note(code.name, time.perf_counter() - began)
            if code is grpc.StatusCode.OK:
                outcome.wrong += future.result() != self._right[which]
            elif any(key == "grpc-status-details-bin" for key, _ in future.trailing_metadata() or ()):
                outcome.refused_with_retry_info += 1
            open_calls.release()

        return note


@contextmanager
def server(variant: str, data: Path, models: Path, core: int) -> Iterator[tuple[str, psutil.Process]]:
    """A server that sheds in a way of `benchmarks.shedding`, pinned to a core: its address and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.shedding", variant, str(data), str(models), str(core)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"overload: the server with {variant} did not start")
        yield line.split()[-1], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def measure(variant: str, asked: Sequence[bytes], options: argparse.Namespace, core: int) -> dict[str, Any]:
    """Figures of one way to shed."""
    with ExitStack() as stack:
        address, process = stack.enter_context(server(variant, options.data, options.model_repository, core))
        load = Load(address, asked)
        stack.callback(load.close)
        load.arrivals(200, 2)
        unloaded = load.unloaded(2_000)
        peak = load.peak(options.peak_seconds)
        load.arrivals(peak * options.factor, 2)
        before = process.memory_info().rss
        overload = load.arrivals(peak * options.factor, options.seconds)
        after = process.memory_info().rss
    goodput = len(overload.taken.get("OK", ())) / options.seconds
    return {
        "variant": variant,
        "unloaded_p50_ms": unloaded.quantile(0.5),
        "unloaded_p99_ms": unloaded.quantile(0.99),
        "peak_per_second": peak,
        "offered_per_second": peak * options.factor,
        "goodput_per_second": goodput,
        "goodput_of_peak": goodput / peak,
        "accepted_p50_ms": overload.quantile(0.5),
        "accepted_p99_ms": overload.quantile(0.99),
        "accepted_p99_of_unloaded": overload.quantile(0.99) / unloaded.quantile(0.99),
        "codes": overload.codes(),
        "refused_with_retry_info": overload.refused_with_retry_info,
        "wrong_answers": overload.wrong,
        "memory_before_mb": before / 1e6,
        "memory_after_mb": after / 1e6,
    }


def describe(row: dict[str, Any]) -> str:
    """One line of a result."""
    return (
        f"{row['variant']}: goodput {row['goodput_per_second']:,.0f}/s, {row['goodput_of_peak']:.0%} of the peak; 99th "
        f"percentile of what was answered {row['accepted_p99_ms']:.1f} ms, {row['accepted_p99_of_unloaded']:.1f}× the "
        f"unloaded; {row['codes']}; {row['wrong_answers']} wrong; memory {row['memory_before_mb']:.0f} to "
        f"{row['memory_after_mb']:.0f} MB"
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
    right.set(xlabel="milliseconds", xscale="log", title="99th percentile of what was answered")
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
    parser.add_argument("--peak-seconds", type=float, default=15.0)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("overload: needs two cores, one for the server and one for the load")
    os.sched_setaffinity(0, cores[1:2])
    asked = requests(DataPaths(options.data), seed=0)[CANDIDATES]
    results = []
    for variant in options.variants:
        results.append(measure(variant, asked, options, cores[0]))
        print(describe(results[-1]), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(
        options.out / "overload.json", {"candidates": CANDIDATES, "seconds": options.seconds, "results": results}
    )
    plot(results, options.out / "overload.png")
    print(f"overload: {options.out / 'overload.json'} and {options.out / 'overload.png'}")


if __name__ == "__main__":
    main()
