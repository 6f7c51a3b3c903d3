"""RankItems of 100 candidates by other means, beside shoprank's server.

Run as `python -m benchmarks.peers`; writes benchmarks/results/peers.json and peers.png. Every server is first held
against shoprank's answers. Then all take turns within every round, each with all of its processes on the first core;
the generator and Redis, which would be another machine, are on the last.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import servers
from benchmarks.cores import generator_cores, machine, server_cores
from benchmarks.load.generator import Generator, generator
from benchmarks.load.job import Job
from benchmarks.peers import processes
from benchmarks.peers.environment import python_of
from benchmarks.redis_server import redis_server
from benchmarks.serving import LMDB, REDIS, Load, Measured
from benchmarks.serving_plots import plot_peers
from benchmarks.workload import check
from feature_repo.paths import DataPaths, write_json
from server.settings import Settings
from shoprank import bundle
from training.schedule import Schedule

CANDIDATES = 100
ROUNDS = 4
CLIENTS = 8
LATENCY_SECONDS, THROUGHPUT_SECONDS = 1.0, 2.0
CACHE = servers.ROOT / ".bench"

SDK_SQLITE, SDK_REDIS = "Feast SDK (SQLite) + ONNX Runtime", "Feast SDK (Redis) + ONNX Runtime"
FEATURE_SERVER = "Feast feature server (Redis) + ONNX Runtime"
MLSERVER = "Feast SDK (Redis) + MLServer"
TENSORFLOW = "packed store (LMDB) + TensorFlow"
CONTROL = "packed store (LMDB) + ONNX Runtime, same front"
PEERS = {
    SDK_SQLITE: "feast_sdk_sqlite",
    SDK_REDIS: "feast_sdk_redis",
    FEATURE_SERVER: "feast_server",
    MLSERVER: "mlserver",
    TENSORFLOW: "tensorflow",
}
HOW = (
    f"RankItems of {CANDIDATES} candidates. All of a peer's processes on the first core, generator and Redis on the "
    f"last. Closed loop by grpcio: one client for latency, {CLIENTS} for throughput. Ratios are medians of the rounds' "
    "ratios. Every peer's replies to 50 requests were within 1e-4 of shoprank's, and so was every third one measured."
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the peers are started with. stack: ends what was started. time: of the requests, seconds since 1970 UTC."""

    shop: servers.Shop
    folder: Path
    stack: ExitStack
    time: int

    @property
    def graph(self) -> Path:
        """The active bundle's ONNX graph."""
        return bundle.current(self.shop.model_repository, "purchase") / bundle.MODEL

    def front(self, python: str, features: str, model: str) -> str:
        """The server that reads those features and runs that model; its address."""
        threads = str(Settings.model_fields["threads"].default)
        command = ["-m", "benchmarks.peers.front", "--features", features, "--model", model]
        command += ["--time", str(self.time), "--threads", threads]
        return self.stack.enter_context(servers.process(command, server_cores(), python=python))

    def run(self, *command: str) -> None:
        """A step of preparation. Raises SystemExit where it fails."""
        environment = {"PYTHONPATH": str(servers.ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(command)} failed:\n{done.stderr[-2_000:]}")

    def feast(self, python: str, kind: str) -> Path:
        """A Feast repository with the snapshot in that store, kept for further runs."""
        repo = CACHE / f"feast-{kind}"
        repo.mkdir(parents=True, exist_ok=True)
        where: tuple[str, ...] = ()
        if kind == "redis":
            port = self.stack.enter_context(redis_server(repo, generator_cores()))
            where = ("--redis", f"127.0.0.1:{port}")
        print(f"peers: filling Feast's {kind} store where it is not yet", flush=True)
        self.run(python, "-m", "benchmarks.peers.stores", kind, str(self.shop.data.resolve()), str(repo), *where)
        return repo


def start(bench: Bench) -> dict[str, str]:
    """Start every peer; their addresses."""
    feast, mlserver = python_of("feast"), python_of("mlserver")
    sqlite, redis = bench.feast(feast, "sqlite"), bench.feast(feast, "redis")
    onnx, packed = f"onnx:{bench.graph}", f"packed:{bench.shop.data}"
    saved = bench.folder / "saved_model"
    bench.run(sys.executable, "-m", "benchmarks.peers.tensorflow_model", str(bench.graph), str(saved))
    features = bench.stack.enter_context(processes.feature_server(feast, redis, server_cores()))
    inference = bench.stack.enter_context(
        processes.mlserver(mlserver, bench.graph, bench.folder / "mlserver", server_cores())
    )
    return {
        SDK_SQLITE: bench.front(feast, f"sdk:{sqlite}", onnx),
        SDK_REDIS: bench.front(feast, f"sdk:{redis}", onnx),
        FEATURE_SERVER: bench.front(feast, f"http:{features}", onnx),
        MLSERVER: bench.front(feast, f"sdk:{redis}", f"v2:{inference}"),
        TENSORFLOW: bench.front(sys.executable, packed, f"tensorflow:{saved}"),
        CONTROL: bench.front(sys.executable, packed, onnx),
    }


def measure(addresses: dict[str, str], load: Load, asking: Generator, rounds: int) -> dict[str, Measured]:
    """Latency and throughput of every server, all taking turns."""
    found = {name: Measured([], []) for name in addresses}
    for number in range(rounds):
        for name, address in addresses.items():
            job = Job(address, str(load.folder), LATENCY_SECONDS, check_every=3)
            found[name].latency.append(asking.measure(job))
            most = asking.measure(replace(job, seconds=THROUGHPUT_SECONDS, clients=CLIENTS))
            if faults := most.faults():
                raise SystemExit(f"bench: {name}: {'; '.join(faults)}")
            found[name].per_second.append(most.achieved)
        print(f"peers: round {number + 1} of {rounds}", flush=True)
    return found


def ratios(found: dict[str, Measured]) -> dict[str, float]:
    """How many times as much as each peer shoprank over LMDB does, by name, and as little time it takes."""
    rates = {name: np.array(m.per_second) for name, m in found.items()}
    medians = {name: np.array([np.median(o.latency) for o in m.latency]) for name, m in found.items()}
    result = {}
    for name, key in PEERS.items():
        result[f"rank_{CANDIDATES}_lmdb_throughput_over_{key}"] = float(np.median(rates[LMDB] / rates[name]))
        result[f"rank_{CANDIDATES}_{key}_median_over_lmdb"] = float(np.median(medians[name] / medians[LMDB]))
    return result


def run(shop: servers.Shop, rounds: int, folder: Path) -> dict[str, Any]:
    """Start everything, hold the answers against shoprank's, measure, and stop it."""
    paths = DataPaths(shop.data)
    cutoff = int(Schedule.read(paths).serving.replace(tzinfo=UTC).timestamp())
    with ExitStack() as stack:
        port = stack.enter_context(redis_server(folder, generator_cores()))
        redis = servers.in_redis(shop, folder, f"redis://127.0.0.1:{port}/0")
        ours = stack.enter_context(servers.ours(shop, server_cores()))
        load = Load.record(ours, paths, CANDIDATES, folder)
        addresses = {LMDB: ours, REDIS: stack.enter_context(servers.ours(redis, server_cores()))}
        addresses |= start(Bench(shop, folder, stack, cutoff))
        for name, address in addresses.items():
            check(name, address, load.traffic, count=50)
        print("peers: all give the same answers", flush=True)
        asking = stack.enter_context(generator(generator_cores()))
        found = measure(addresses, load, asking, rounds)
    return {
        "how": HOW,
        "machine": machine(),
        "rounds": rounds,
        "servers": {name: measured.summary() for name, measured in found.items()},
        "ratios": ratios(found),
    }


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoprank-") as folder:
        result = run(servers.Shop(options.data, options.model_repository), options.rounds, Path(folder))
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "peers.json", result)
    plot_peers(result, options.out / "peers.png")
    for name, figures in result["servers"].items():
        print(f"  {name}: median {figures['median_ms']:.2f} ms, {figures['requests_per_second']:,.0f} requests/s")
    print(f"peers: {options.out / 'peers.json'} and {options.out / 'peers.png'}")


if __name__ == "__main__":
    main()
