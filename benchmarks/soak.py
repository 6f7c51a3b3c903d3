"""Keeps a server busy for a long time and looks whether its memory grows.

Run as `python -m benchmarks.soak`; writes benchmarks/results/soak.json. The load is a mix: rankings, scores, the whole
catalogue, bad requests, malformed ones, connections that come and go, and from time to time more than can be answered.
Fails where memory after the first fifth grows by more than 5 %, or an answer differs from the first one by more than
what a ranking's last bits owe to the rankings beside it.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from benchmarks import servers
from benchmarks.cores import server_cores
from benchmarks.fuzz import disturb, send
from benchmarks.load.job import METHOD
from benchmarks.load.traffic import same
from benchmarks.workload import replies, requests
from feature_repo.paths import DataPaths, write_json
from shoprank.v1.ranking_pb2 import RankItemsRequest

GROWTH = 1.05
ROUND_CALLS = 2_000
IN_FLIGHT = 8
BURST = 400


def round_of(address: str, asked: list[bytes], right: list[bytes], seed: int, outcomes: Counter[str]) -> None:
    """One round of mixed load on new connections."""
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        rank: Any = channel.unary_unary(METHOD, None, None)
        for start in range(0, ROUND_CALLS, IN_FLIGHT):
            numbers = [i % len(asked) for i in range(start, start + IN_FLIGHT)]
            calls = [(i, rank.future(asked[i], timeout=30)) for i in numbers]
            for i, call in calls:
                code = call.code().name
                outcomes[code if code != "OK" or same(call.result(), right[i]) else "WRONG"] += 1
        burst = [rank.future(asked[i % len(asked)], timeout=30) for i in range(BURST)]
        for call in burst:
            outcomes[call.code().name] += 1
        whole = RankItemsRequest(user_id="1").SerializeToString()
        outcomes[rank.future(whole, timeout=30).code().name] += 1
    outcomes.update(send(address, seed, 500).codes)
    disturb(address, seed, 20)


def memory(parent: psutil.Process) -> float:
    """Megabytes that a server and its workers hold."""
    return sum(one.memory_info().rss for one in (parent, *parent.children())) / 1e6


def main() -> None:
    """Load a server, and fail if its memory grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    asked = requests(DataPaths(options.data), 100, count=100)
    outcomes: Counter[str] = Counter()
    held: list[tuple[float, float]] = []
    shop = servers.Shop(options.data, options.model_repository)
    with servers.ours(shop, server_cores(options.workers), options.workers) as address:
        (server,) = [one for one in psutil.Process().children() if "serve" in one.cmdline()]
        right = replies(address, asked)
        began = time.monotonic()
        seed = 0
        while (elapsed := time.monotonic() - began) < options.minutes * 60:
            round_of(address, asked, right, seed, outcomes)
            held.append((elapsed, memory(server)))
            seed += 1
    settled = [mb for at, mb in held if at > options.minutes * 12]
    first, last = np.mean(settled[: len(settled) // 4 + 1]), np.mean(settled[-(len(settled) // 4 + 1) :])
    result = {
        "minutes": options.minutes,
        "workers": options.workers,
        "outcomes": dict(outcomes),
        "memory_first_mb": float(first),
        "memory_last_mb": float(last),
        "memory_mb": [{"seconds": round(at), "mb": round(mb, 1)} for at, mb in held[:: max(1, len(held) // 100)]],
    }
    write_json(options.out / "soak.json", result)
    print(
        f"soak: {outcomes.total():,} calls in {options.minutes:g} minutes ended as {dict(outcomes)}; memory went from "
        f"{first:.0f} to {last:.0f} MB"
    )
    if outcomes["WRONG"] or last > first * GROWTH:
        raise SystemExit("soak: memory grew, or an answer was wrong")


if __name__ == "__main__":
    main()
