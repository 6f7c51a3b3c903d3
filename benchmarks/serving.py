"""Latency and throughput of RankItems beside an empty gRPC handler with the same request and reply bytes.

Run as `python -m benchmarks.serving`; writes benchmarks/results/serving.json and serving.png. Closed loop: each client
asks again when it has its answer. The two servers take turns within every round, so that what else the machine does
falls on both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from feature_repo.paths import DataPaths, write_json
from shoprank.v1.ranking_pb2 import RankItemsRequest
from training.features.snapshots import snapshot_path
from training.schedule import Schedule

METHOD = "/shoprank.v1.RankingService/RankItems"
CANDIDATES = (1, 10, 100, 500, 1_000)
ROUNDS = 10
USERS = 50
F64 = npt.NDArray[np.float64]
Ask = Callable[[bytes], bytes]


@contextmanager
def process(*command: str) -> Iterator[str]:
    """A server process and its address, the last word of the first line it prints."""
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            raise SystemExit(f"serving: {' '.join(command)} did not start")
        yield line.split()[-1]
    finally:
        server.terminate()
        server.wait(30)


def requests(paths: DataPaths, seed: int) -> dict[int, list[bytes]]:
    """Serialized requests by number of candidates: random users, random items that sold in the last 84 days."""
    rng = np.random.default_rng(seed)
    cutoff = Schedule.read(paths).serving
    users = pq.read_table(snapshot_path(paths, "user_features", cutoff), columns=["user_id"])["user_id"].to_pylist()
    items = pq.read_table(snapshot_path(paths, "item_features", cutoff), columns=["item_id", "item_purchases_84d"])
    sold = items.filter(items["item_purchases_84d"].to_numpy() > 0)["item_id"].to_pylist()
    return {
        count: [
            RankItemsRequest(
                user_id=users[rng.integers(len(users))],
                item_ids=[sold[i] for i in rng.choice(len(sold), count, replace=False)],
            ).SerializeToString()
            for _ in range(USERS)
        ]
        for count in CANDIDATES
    }


def raw(channel: grpc.Channel) -> Ask:
    """RankItems on bytes."""
    return channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)


def latency(ask: Ask, asked: Sequence[bytes], count: int) -> F64:
    """Milliseconds of `count` requests, one after another."""
    taken = np.empty(count)
    for i in range(count):
        began = time.perf_counter()
        ask(asked[i % len(asked)])
        taken[i] = time.perf_counter() - began
    return taken * 1e3


def throughput(ask: Ask, asked: Sequence[bytes], clients: int, seconds: float) -> float:
    """Requests a second that so many clients get answered."""
    done = [0] * clients
    end = time.perf_counter() + seconds

    def run(client: int) -> None:
        while time.perf_counter() < end:
            ask(asked[(client + done[client]) % len(asked)])
            done[client] += 1

    threads = [threading.Thread(target=run, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def measure(addresses: dict[str, str], asked: dict[int, list[bytes]], rounds: int) -> list[dict[str, Any]]:
    """Latency and throughput of every server at every number of candidates, the servers taking turns."""
    with ExitStack() as stack:
        asks: dict[str, Ask] = {}
        for name, address in addresses.items():
            channel = stack.enter_context(grpc.insecure_channel(address))
            asks[name] = raw(channel)
        results = []
        for count, some in asked.items():
            times: dict[str, list[F64]] = {name: [] for name in asks}
            rates: dict[str, list[float]] = {name: [] for name in asks}
            for ask in asks.values():
                latency(ask, some, 100)
            for _ in range(rounds):
                for name, ask in asks.items():
                    times[name].append(latency(ask, some, 100))
                    rates[name].append(throughput(ask, some, clients=4, seconds=0.5))
            results.append(summary(count, times, rates))
            print(describe(results[-1]), flush=True)
    return results


def summary(count: int, times: dict[str, list[F64]], rates: dict[str, list[float]]) -> dict[str, Any]:
    """Percentiles and rates by server, and shoprank's ratios to the floor."""
    servers = {
        name: {
            "median_ms": float(np.median(np.concatenate(taken))),
            "p99_ms": float(np.quantile(np.concatenate(taken), 0.99)),
            "requests_per_second": float(np.median(rates[name])),
        }
        for name, taken in times.items()
    }
    ours, floor = servers["shoprank"], servers["empty handler"]
    return {
        "candidates": count,
        **servers,
        "median_ratio": ours["median_ms"] / floor["median_ms"],
        "throughput_ratio": ours["requests_per_second"] / floor["requests_per_second"],
    }


def describe(row: dict[str, Any]) -> str:
    """One line of a result."""
    return (
        f"{row['candidates']:>5} candidates: median {row['shoprank']['median_ms']:.2f} ms, "
        f"{row['median_ratio']:.1f}× the empty handler's; {row['shoprank']['requests_per_second']:,.0f} requests/s, "
        f"{row['throughput_ratio']:.2f} of the empty handler's"
    )


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Median and 99th percentile over the number of candidates."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    counts = [row["candidates"] for row in results]
    for name, colour in (("shoprank", "C0"), ("empty handler", "C7")):
        axes.plot(counts, [row[name]["median_ms"] for row in results], "o-", color=colour, label=f"{name}, median")
        p99 = [row[name]["p99_ms"] for row in results]
        axes.plot(counts, p99, "o:", color=colour, label=f"{name}, 99th percentile")
    axes.set(xscale="log", yscale="log", xlabel="candidates", ylabel="milliseconds", title="RankItems, one client")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    asked = requests(DataPaths(options.data), seed=0)
    serve = ["-m", "shoprank", "serve", "--port", "0", "--clock", "snapshot", "--data", str(options.data)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ours = stack.enter_context(process(*serve, "--model-repository", str(options.model_repository)))
        with grpc.insecure_channel(ours) as channel:
            for some in asked.values():
                # The floor tells requests apart by their size, so each gets a reply as large as ours.
                for request in some:
                    reply = raw(channel)(request)
                    (Path(folder) / f"{len(request)}.reply").write_bytes(reply)
        floor = stack.enter_context(process("-m", "benchmarks.floor", folder))
        results = measure({"shoprank": ours, "empty handler": floor}, asked, options.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "serving.json", {"rounds": options.rounds, "results": results})
    plot(results, options.out / "serving.png")
    print(f"serving: {options.out / 'serving.json'} and {options.out / 'serving.png'}")


if __name__ == "__main__":
    main()
