"""Latency of RankItems when calls come on a schedule of their own, beside the empty handler at the same rate.

Run as `python -m benchmarks.open_loop`; writes benchmarks/results/open_loop.json and open_loop.png. Poisson arrivals,
latency from the moment a call was due. The rates are shares of the most that shoprank answers over LMDB, which is
measured first; the servers take turns within every round, each alone on the first core, the generator on the last.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import servers
from benchmarks.cores import generator_cores, machine, server_cores
from benchmarks.load import h2load
from benchmarks.load.generator import Generator, generator
from benchmarks.load.job import Job
from benchmarks.load.outcome import Outcome
from benchmarks.serving import CONNECTIONS, FLOOR, LMDB, THROUGHPUT_SECONDS, Load
from benchmarks.serving_plots import plot_open_loop
from feature_repo.paths import DataPaths, write_json

CANDIDATES = 100
HALF = 0.5
SWEEP = (0.1, 0.25, 0.7, 0.8, 0.9)
HALF_ROUNDS, HALF_SECONDS, SWEEP_ROUNDS, SWEEP_SECONDS = 16, 4.0, 2, 2.0
HOW = (
    "Poisson arrivals by a grpcio generator on the last core, the server alone on the first; latency from the moment a "
    "call was due. half: 50 % of the most requests a second that shoprank answers over LMDB, as h2load measured it in "
    "the same run. Every round has its own seed, the same for both servers; percentiles are of all rounds together."
)


def most(address: str, load: Load, rounds: int) -> float:
    """Requests a second that a server answers at most, the median of rounds."""
    rates = [
        h2load.throughput(address, load.bodies, CONNECTIONS, THROUGHPUT_SECONDS, generator_cores())
        for _ in range(rounds)
    ]
    return float(np.median(rates))


def at_rate(
    addresses: dict[str, str], load: Load, asking: Generator, rate: float, rounds: int, seconds: float
) -> dict[str, Any]:
    """Both servers at one rate, in turns."""
    found: dict[str, list[Outcome]] = {name: [] for name in addresses}
    for seed in range(rounds):
        for name, address in addresses.items():
            found[name].append(asking.measure(Job(address, str(load.folder), seconds, rate=rate, seed=seed)))
    wholes = {name: Outcome.rounds(outcomes) for name, outcomes in found.items()}
    figures = {name: whole.summary() | {"spectrum": whole.spectrum()} for name, whole in wholes.items()}
    print(f"{rate:7,.0f} requests/s: " + "; ".join(describe(n, f) for n, f in figures.items()), flush=True)
    return {"requests_per_second": rate, "rounds": rounds, "servers": figures}


def describe(name: str, figures: dict[str, Any]) -> str:
    """A part of a line about one server."""
    if not figures["valid"]:
        return f"{name} not valid: {'; '.join(figures['invalid_because'])}"
    held = "" if figures["sustained"] else ", not sustained"
    return f"{name} median {figures['median_ms']:.2f} ms, 99 % below {figures['p99_ms']:.2f} ms{held}"


def ratios(half: dict[str, Any]) -> dict[str, float]:
    """The figures at half of the most, by name; none where either server's are not valid."""
    ours, floor = half["servers"][LMDB], half["servers"][FLOOR]
    if not (ours["valid"] and floor["valid"] and ours["sustained"] and floor["sustained"]):
        return {}
    return {
        f"open_loop_half_{CANDIDATES}_lmdb_{name}_over_empty": ours[f"{name}_ms"] / floor[f"{name}_ms"]
        for name in ("median", "p99")
    }


def run(shop: servers.Shop, rounds: int, folder: Path) -> dict[str, Any]:
    """Start both servers, measure, and stop them."""
    with ExitStack() as stack:
        ours = stack.enter_context(servers.ours(shop, server_cores()))
        load = Load.record(ours, DataPaths(shop.data), CANDIDATES, folder)
        floor = stack.enter_context(servers.floor([load.folder], server_cores()))
        asking = stack.enter_context(generator(generator_cores()))
        addresses = {FLOOR: floor, LMDB: ours}
        for address in addresses.values():
            asking.measure(Job(address, str(load.folder), 1.0))
        limit = most(ours, load, rounds=5)
        half = at_rate(addresses, load, asking, limit * HALF, rounds, HALF_SECONDS)
        sweep = [at_rate(addresses, load, asking, limit * s, SWEEP_ROUNDS, SWEEP_SECONDS) for s in SWEEP]
    ordered = sorted([*sweep, half], key=lambda line: float(line["requests_per_second"]))
    return {
        "how": HOW,
        "machine": machine(),
        "candidates": CANDIDATES,
        "most_requests_per_second": limit,
        "half": half,
        "sweep": ordered,
        "ratios": ratios(half),
    }


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=HALF_ROUNDS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    h2load.installed()
    with tempfile.TemporaryDirectory(prefix="shoprank-") as folder:
        result = run(servers.Shop(options.data, options.model_repository), options.rounds, Path(folder))
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "open_loop.json", result)
    plot_open_loop(result, options.out / "open_loop.png")
    print(f"open loop: {options.out / 'open_loop.json'} and {options.out / 'open_loop.png'}")


if __name__ == "__main__":
    main()
