"""Latency and throughput of RankItems beside an empty gRPC handler with the same request and reply bytes.

Run as `python -m benchmarks.serving`; writes benchmarks/results/serving.json and serving.png. Closed loop: each client
asks again when it has its answer. Servers take turns within every round, each alone on the first core; the generator
and Redis, which would be another machine, are on the last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import servers
from benchmarks.cores import generator_cores, machine, server_cores
from benchmarks.load import h2load
from benchmarks.load.generator import Generator, generator
from benchmarks.load.job import Job
from benchmarks.load.outcome import Outcome, percentiles
from benchmarks.load.traffic import Traffic
from benchmarks.redis_server import redis_server
from benchmarks.serving_plots import plot
from benchmarks.workload import check, recorded
from feature_repo.paths import DataPaths, write_json
from shoprank import bundle
from shoprank.cli import OWN_POLLING

FLOOR, FLOOR_OWN, LMDB, REDIS = "empty handler", "empty handler, own polling", "shoprank, LMDB", "shoprank, Redis"
CANDIDATES = (1, 10, 100, 500, 1_000)
ROUNDS = 6
CONNECTIONS = 8
BODIES = 8
LATENCY_SECONDS, THROUGHPUT_SECONDS, ROWS_SECONDS = 0.4, 0.6, 0.5
HOW = (
    "Server on the first core, generator and Redis on the last. Latency: one grpcio client, closed loop. Throughput: "
    f"h2load, {CONNECTIONS} connections with a call open on each, {BODIES} bodies. Ratios are medians of the rounds' "
    "ratios, to the empty handler of grpcio as it comes. Own polling: with the setting of gRPC that shoprank serve "
    "has. Rows: ONNX Runtime by itself, one thread, on the server's core."
)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked at one number of candidates: for the generator in a folder, for h2load as files of bodies."""

    folder: Path
    traffic: Traffic
    bodies: list[h2load.Body]

    @classmethod
    def record(cls, address: str, paths: DataPaths, candidates: int, folder: Path) -> Load:
        """Requests with the replies of the server at `address`, on disk below the folder."""
        traffic = recorded(address, paths, candidates, folder / "traffic")
        some = list(map(len, traffic.replies[:BODIES]))
        return cls(folder / "traffic", traffic, h2load.write_bodies(folder / "bodies", traffic.requests[:BODIES], some))


@dataclass(slots=True)
class Measured:
    """Rounds of one server at one number of candidates."""

    latency: list[Outcome]
    per_second: list[float]

    def summary(self) -> dict[str, Any]:
        """The figures, for JSON."""
        whole = Outcome.rounds(self.latency)
        if faults := whole.faults():
            raise SystemExit(f"bench: {'; '.join(faults)}")
        return percentiles(whole.latency) | {
            "requests_per_second": float(np.median(self.per_second)),
            "replies_checked": whole.checked,
        }


def measure(addresses: dict[str, str], load: Load, generator: Generator, rounds: int) -> dict[str, Measured]:
    """Latency and throughput of every server at one number of candidates, the servers taking turns."""
    found = {name: Measured([], []) for name in addresses}
    for address in addresses.values():
        generator.measure(Job(address, str(load.folder), 0.2))
    for _ in range(rounds):
        for name, address in addresses.items():
            found[name].latency.append(generator.measure(Job(address, str(load.folder), LATENCY_SECONDS)))
            found[name].per_second.append(
                h2load.throughput(address, load.bodies, CONNECTIONS, THROUGHPUT_SECONDS, generator_cores())
            )
    return found


def by_grpcio(addresses: dict[str, str], load: Load, generator: Generator, rounds: int) -> dict[str, float]:
    """Requests a second where the generator is grpcio in Python, as many clients as h2load has connections."""
    rates: dict[str, list[float]] = {name: [] for name in addresses}
    for _ in range(rounds):
        for name, address in addresses.items():
            job = Job(address, str(load.folder), THROUGHPUT_SECONDS, clients=CONNECTIONS)
            rates[name].append(generator.measure(job).achieved)
    return {name: float(np.median(some)) for name, some in rates.items()}


def rows_per_second(directory: Path, rows: int) -> float:
    """Of ONNX Runtime by itself, on the server's core."""
    cores = ",".join(map(str, server_cores()))
    command = ["taskset", "-c", cores, sys.executable, "-m", "benchmarks.rows", str(directory), str(rows)]
    done = subprocess.run([*command, str(ROWS_SECONDS)], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def row(candidates: int, found: dict[str, Measured], onnxruntime: float) -> dict[str, Any]:
    """One number of candidates: figures by server, and each of ours beside the floor."""
    result: dict[str, Any] = {"candidates": candidates, "onnxruntime_rows_per_second": onnxruntime}
    result["servers"] = {name: measured.summary() for name, measured in found.items()}
    medians = {name: np.array([np.median(o.latency) for o in m.latency]) for name, m in found.items()}
    rates = {name: np.array(m.per_second) for name, m in found.items()}
    for name in found:
        if name != FLOOR:
            result["servers"][name] |= {
                "median_ratio": float(np.median(medians[name] / medians[FLOOR])),
                "throughput_ratio": float(np.median(rates[name] / rates[FLOOR])),
            }
        if name in (LMDB, REDIS):
            result["servers"][name] |= {
                "rows_ratio": float(np.median(rates[name]) * candidates / onnxruntime),
                "median_over_own_polling": float(np.median(medians[name] / medians[FLOOR_OWN])),
                "throughput_over_own_polling": float(np.median(rates[name] / rates[FLOOR_OWN])),
            }
    return result


def ratios(results: list[dict[str, Any]]) -> dict[str, float]:
    """Every ratio by name, such as `rank_100_lmdb_throughput_over_empty`."""
    found = {}
    for line in results:
        for name, store in ((LMDB, "lmdb"), (REDIS, "redis")):
            figures, key = line["servers"][name], f"rank_{line['candidates']}_{store}"
            found[f"{key}_throughput_over_empty"] = figures["throughput_ratio"]
            found[f"{key}_median_over_empty"] = figures["median_ratio"]
            found[f"{key}_throughput_over_empty_own_polling"] = figures["throughput_over_own_polling"]
            found[f"{key}_median_over_empty_own_polling"] = figures["median_over_own_polling"]
            found[f"{key}_rows_over_onnxruntime"] = figures["rows_ratio"]
    return found


def describe(line: dict[str, Any]) -> str:
    """One line of a result."""
    return "\n".join(
        f"{line['candidates']:>5} candidates, {name}: median {figures['median_ms']:.2f} ms, "
        f"{figures['median_ratio']:.2f}× the empty handler's; {figures['requests_per_second']:,.0f} requests/s, "
        f"{figures['throughput_ratio']:.2f} of the empty handler's"
        + (f", {figures['throughput_over_own_polling']:.2f} with own polling" if name != FLOOR_OWN else "")
        for name, figures in line["servers"].items()
        if name != FLOOR
    )


def run(shop: servers.Shop, rounds: int, folder: Path) -> dict[str, Any]:
    """Start everything, measure, and stop it."""
    paths, model = DataPaths(shop.data), bundle.current(shop.model_repository, "purchase")
    with ExitStack() as stack:
        port = stack.enter_context(redis_server(folder, generator_cores()))
        redis = servers.in_redis(shop, folder, f"redis://127.0.0.1:{port}/0")
        ours = {
            name: stack.enter_context(servers.ours(some, server_cores()))
            for name, some in ((LMDB, shop), (REDIS, redis))
        }
        loads = {n: Load.record(ours[LMDB], paths, n, folder / str(n)) for n in CANDIDATES}
        for load in loads.values():
            check(REDIS, ours[REDIS], load.traffic)
        folders = [load.folder for load in loads.values()]
        floors = {
            name: stack.enter_context(servers.floor(folders, server_cores(), environment=environment))
            for name, environment in ((FLOOR, None), (FLOOR_OWN, OWN_POLLING))
        }
        addresses = {**floors, **ours}
        asking = stack.enter_context(generator(generator_cores()))
        results = []
        for count, load in loads.items():
            found = measure(addresses, load, asking, rounds)
            results.append(row(count, found, rows_per_second(model, count)))
            print(describe(results[-1]), flush=True)
        grpcio = by_grpcio(addresses, loads[100], asking, rounds)
    return {
        "how": HOW,
        "machine": machine(),
        "rounds": rounds,
        "results": results,
        "requests_per_second_of_100_candidates_asked_by_grpcio": grpcio,
        "ratios": ratios(results),
    }


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
    write_json(options.out / "serving.json", result)
    plot(result["results"], options.out / "serving.png")
    print(f"serving: {options.out / 'serving.json'} and {options.out / 'serving.png'}")


if __name__ == "__main__":
    main()
