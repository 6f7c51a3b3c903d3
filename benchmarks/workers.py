"""What a second worker process brings, beside what it brings the empty handler.

Run as `python -m benchmarks.workers`; writes benchmarks/results/workers.json. One worker has the first core and h2load
another; two workers have two cores. On a machine of two, h2load shares these, and what it takes the workers lack. So
two ratios are kept: of requests a second, and of what the workers would answer in a second with cores of their own,
which is workers / (their processor seconds a request).
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import servers
from benchmarks.cores import generator_cores, machine, server_cores
from benchmarks.load import h2load
from benchmarks.serving import BODIES, CONNECTIONS, FLOOR, LMDB, Load
from benchmarks.workload import check
from feature_repo.paths import DataPaths, write_json

CANDIDATES = (100, 500)
WORKERS = (1, 2)
ROUNDS = 10
SECONDS = 1.0
HOW = (
    f"h2load, {CONNECTIONS} connections a worker with a call open on each, {BODIES} bodies; one worker on the first "
    "core, two on the first two, which h2load shares where there are no others. shared: ratio of requests a second. "
    "scaling: of what the workers would answer with cores of their own, by the processor time they took. Both are "
    "medians of the rounds' ratios. Workers of shoprank let 64 calls wait, for connections spread unevenly."
)
WAITING = {"SHOPRANK_LIMITS__BURST": "64", "SHOPRANK_LIMITS__QUEUE": "64", "SHOPRANK_LIMITS__PENDING": "64"}


def measure(addresses: dict[str, dict[int, str]], load: Load, rounds: int) -> dict[str, Any]:
    """Requests a second, and what cores of their own would answer, with one and two workers, all taking turns."""
    rates: dict[str, dict[int, list[float]]] = {name: {w: [] for w in WORKERS} for name in addresses}
    own: dict[str, dict[int, list[float]]] = {name: {w: [] for w in WORKERS} for name in addresses}
    for _ in range(rounds):
        for name, by_workers in addresses.items():
            for workers, address in by_workers.items():
                cores = generator_cores() if workers == 1 else server_cores(workers) | generator_cores(workers)
                before = processor_seconds(address)
                rate = h2load.throughput(address, load.bodies, CONNECTIONS * workers, SECONDS, cores)
                rates[name][workers].append(rate)
                own[name][workers].append(workers * rate * SECONDS / (processor_seconds(address) - before))
    return {
        name: {
            "requests_per_second": {str(w): float(np.median(some)) for w, some in rates[name].items()},
            "with_cores_of_their_own": {str(w): float(np.median(some)) for w, some in own[name].items()},
            "shared": ratio(rates[name]),
            "scaling": ratio(own[name]),
        }
        for name in addresses
    }


def ratio(by_workers: dict[int, list[float]]) -> float:
    """Two workers over one."""
    return float(np.median(np.array(by_workers[2]) / np.array(by_workers[1])))


def processor_seconds(address: str) -> float:
    """Of all processes that listen there, so far."""
    port = int(address.rpartition(":")[2])
    listening = {
        found.pid
        for found in psutil.net_connections("tcp")
        if found.status == "LISTEN" and tuple(found.laddr)[1:] == (port,)
    }
    times = [psutil.Process(pid).cpu_times() for pid in listening if pid is not None]
    return float(sum(time.user + time.system for time in times))


def run(shop: servers.Shop, rounds: int, folder: Path) -> dict[str, Any]:
    """Start all four servers, measure, and stop them."""
    with ExitStack() as stack:
        ours = {w: stack.enter_context(servers.ours(shop, server_cores(w), w, WAITING)) for w in WORKERS}
        loads = {n: Load.record(ours[1], DataPaths(shop.data), n, folder / str(n)) for n in CANDIDATES}
        for load in loads.values():
            check(f"{LMDB}, two workers", ours[2], load.traffic)
        folders = [load.folder for load in loads.values()]
        floors = {w: stack.enter_context(servers.floor(folders, server_cores(w), w)) for w in WORKERS}
        results = {}
        for n, load in loads.items():
            results[str(n)] = measure({FLOOR: floors, LMDB: ours}, load, rounds)
            print(f"{n} candidates: " + describe(results[str(n)]), flush=True)
    return {
        "how": HOW,
        "machine": machine(),
        "rounds": rounds,
        "results": results,
        "ratios": {f"rank_{n}_lmdb_two_workers_over_one": results[str(n)][LMDB]["scaling"] for n in CANDIDATES},
    }


def describe(result: dict[str, Any]) -> str:
    """One line of a result."""
    return "; ".join(
        f"{name} {figures['requests_per_second']['1']:,.0f} and {figures['requests_per_second']['2']:,.0f} requests/s, "
        f"{figures['shared']:.2f}×; with cores of their own {figures['scaling']:.2f}×"
        for name, figures in result.items()
    )


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    h2load.installed()
    with tempfile.TemporaryDirectory(prefix="shoprank-") as folder:
        result = run(servers.Shop(options.data, options.model_repository), options.rounds, Path(folder))
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "workers.json", result)
    print(f"workers: {options.out / 'workers.json'}")


if __name__ == "__main__":
    main()
