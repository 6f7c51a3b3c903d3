"""Ways to serve gRPC from Python: thread pools of several sizes, asyncio, uvloop, and the server's own gate.

Run as `python -m benchmarks.transport`; writes benchmarks/results/transport.json. Each server answers with an empty
handler and with one that works as long as a ranking does: 0.25 ms in Python, 0.08 ms in code that lets other threads
run. One process has a core of its own and the load another; two processes share both cores with the load. Figures of
what was not measured anew stay in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks.echo import HANDLERS, METHOD, OWN, TRANSPORTS
from benchmarks.servers import as_it_comes
from feature_repo.paths import write_json
from server.process.port import reserve
from shoprank.cli import OWN_POLLING

CALLERS = 8
PAYLOAD = b"x" * 1_000
PROCESSES = (1, 2)
F64 = npt.NDArray[np.float64]


@contextmanager
def servers(transport: str, handler: str, processes: int, cores: Sequence[int]) -> Iterator[str]:
    """So many server processes on one port, and its address. One process is pinned to the first core."""
    with reserve("127.0.0.1", 0) as held, ExitStack() as stack:
        port = held.getsockname()[1]
        pinned = cores[:1] if processes == 1 else cores
        for _ in range(processes):
            command = ["-m", "benchmarks.echo", transport, handler, str(port), ",".join(map(str, pinned))]
            environment = {**as_it_comes(), **(OWN_POLLING if OWN in transport else {})}
            process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environment)
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
            assert process.stdout is not None
            if not process.stdout.readline():
                raise SystemExit(f"transport: {transport} did not start")
        yield f"127.0.0.1:{port}"


def latency(calls: Sequence[Any], count: int) -> F64:
    """Milliseconds of calls that come one after another."""
    taken = np.empty(count)
    for i in range(count):
        began = time.perf_counter()
        calls[i % len(calls)](PAYLOAD)
        taken[i] = time.perf_counter() - began
    return taken * 1e3


def throughput(calls: Sequence[Any], seconds: float) -> float:
    """Calls a second of callers that ask again when they have their answer."""
    done = [0] * CALLERS
    end = time.perf_counter() + seconds

    def run(caller: int) -> None:
        while time.perf_counter() < end:
            calls[caller % len(calls)](PAYLOAD)
            done[caller] += 1

    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def measure(
    transports: Sequence[str], handler: str, processes: int, rounds: int, cores: Sequence[int]
) -> list[dict[str, Any]]:
    """Median latency and throughput of each transport, all taking turns within a round; rates are medians of rounds."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    times: dict[str, list[F64]] = {name: [] for name in transports}
    rates: dict[str, list[float]] = {name: [] for name in transports}
    with ExitStack() as stack:
        calls = {}
        for name in transports:
            address = stack.enter_context(servers(name, handler, processes, cores))
            channels = [stack.enter_context(grpc.insecure_channel(address, options)) for _ in range(CALLERS)]
            calls[name] = [channel.unary_unary(METHOD, None, None) for channel in channels]
            latency(calls[name], 200)
        for _ in range(rounds):
            for name in transports:
                times[name].append(latency(calls[name], 200))
                rates[name].append(throughput(calls[name], 0.4))
    return [
        {
            "transport": name,
            "handler": handler,
            "processes": processes,
            "median_ms": float(np.median(np.concatenate(times[name]))),
            "p99_ms": float(np.quantile(np.concatenate(times[name]), 0.99)),
            "calls_per_second": float(np.median(rates[name])),
        }
        for name in transports
    ]


def kept(path: Path, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results in a file, those that were measured anew replaced."""

    def what(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["processes"], row["handler"], row["transport"]

    rows = {what(row): row for row in json.loads(path.read_text())["results"]} if path.is_file() else {}
    return list((rows | {what(row): row for row in results}).values())


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transports", nargs="+", choices=list(TRANSPORTS), default=list(TRANSPORTS))
    parser.add_argument("--processes", type=int, nargs="+", choices=PROCESSES, default=PROCESSES)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("transport: needs two cores, one for the server and one for the load")
    os.sched_setaffinity(0, cores[1:])
    results = []
    for processes in options.processes:
        if processes > 1:
            os.sched_setaffinity(0, cores)
        for handler in HANDLERS:
            for row in measure(options.transports, handler, processes, options.rounds, cores):
                results.append(row)
                print(
                    f"{processes} process, {handler}, {row['transport']}: {row['median_ms']:.2f} ms, 99th percentile "
                    f"{row['p99_ms']:.2f} ms; {row['calls_per_second']:,.0f}/s",
                    flush=True,
                )
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "transport.json", {"results": kept(options.out / "transport.json", results)})
    print(f"transport: {options.out / 'transport.json'}")


if __name__ == "__main__":
    main()
