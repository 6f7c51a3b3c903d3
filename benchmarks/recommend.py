"""Latency of RecommendItems beside RankItems of 100 candidates, by one server over LMDB in the same minute.

Run as `python -m benchmarks.recommend`; writes benchmarks/results/recommend.json. One grpcio client, closed loop; the
server on the first core, the client on the last. What is compared takes turns, a few calls each, so that what else the
machine does falls on all.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
import numpy as np

from benchmarks import servers
from benchmarks.cores import generator_cores, machine, server_cores
from benchmarks.load.job import METHOD
from benchmarks.workload import requests
from feature_repo.paths import DataPaths, write_json
from shoprank.v1 import recommendation_pb2 as pb
from shoprank.v1.filter_pb2 import ItemFilter
from shoprank.v1.ranking_pb2 import RankItemsRequest

ROUNDS, CALLS, WARM = 60, 10, 50
RANK, RECOMMEND = "RankItems, 100 candidates", "RecommendItems, 500 candidates"
SERVICE = "/shoprank.v1.RecommendationService"
FILTER = ItemFilter(excluded_departments=["GROCERY"], min_price=1, not_bought_within_days=28)
HOW = (
    "Server on the first core, one grpcio client on the last, closed loop; turns of "
    f"{CALLS} calls each. Ratios are medians of the rounds' ratios of medians."
)

Ask = tuple[str, list[bytes]]
"""A method and the requests that are sent to it in turn."""


def asked(paths: DataPaths) -> dict[str, Ask]:
    """What is measured, by name."""
    ranked = [RankItemsRequest.FromString(request) for request in requests(paths, 100)]
    filtered = [RankItemsRequest(user_id=r.user_id, item_ids=r.item_ids, filter=FILTER) for r in ranked]

    def slates(**fields: Any) -> Ask:
        made = [pb.RecommendItemsRequest(user_id=r.user_id, **fields).SerializeToString() for r in ranked]
        return f"{SERVICE}/RecommendItems", made

    diversity = pb.Diversity(**{"lambda": 0.7})
    similar = [pb.SimilarItemsRequest(item_id=r.item_ids[0]).SerializeToString() for r in ranked]
    return {
        RANK: (METHOD, requests(paths, 100)),
        "RankItems, 100 candidates, a filter": (METHOD, [r.SerializeToString() for r in filtered]),
        RECOMMEND: slates(),
        "RecommendItems, a filter": slates(filter=FILTER),
        "RecommendItems, diversity and limits": slates(diversity=diversity, limits=pb.Limits(per_category=2)),
        "RecommendItems, exploration": slates(exploration=pb.Exploration(temperature=1, seed=1)),
        "SimilarItems": (f"{SERVICE}/SimilarItems", similar),
    }


def measure(address: str, what: dict[str, Ask], rounds: int) -> dict[str, list[list[float]]]:
    """Milliseconds of every call, a list a round, by name. Raises grpc.RpcError where a call fails."""
    taken: dict[str, list[list[float]]] = {name: [] for name in what}
    with grpc.insecure_channel(address) as channel:
        calls: dict[str, Callable[[bytes], bytes]] = {
            name: channel.unary_unary(method, request_serializer=None, response_deserializer=None)
            for name, (method, _) in what.items()
        }
        for name, (_, some) in what.items():
            for request in some[:WARM]:
                calls[name](request)
        for turn in range(rounds):
            for name, (_, some) in what.items():
                times = []
                for i in range(CALLS):
                    request = some[(turn * CALLS + i) % len(some)]
                    began = perf_counter()
                    calls[name](request)
                    times.append((perf_counter() - began) * 1e3)
                taken[name].append(times)
    return taken


def result_of(taken: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Figures by name, and the ratios."""
    medians = {name: np.median(np.array(times), axis=1) for name, times in taken.items()}
    figures = {
        name: {
            "median_ms": float(np.median(times)),
            "p99_ms": float(np.percentile(times, 99)),
            "median_over_rank_100": float(np.median(medians[name] / medians[RANK])),
        }
        for name, times in taken.items()
    }
    ratio = figures[RECOMMEND]["median_over_rank_100"]
    return {"results": figures, "ratios": {"recommend_500_median_over_rank_100": ratio}}


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    what = asked(DataPaths(options.data))
    on, own = server_cores(), generator_cores()
    measured_on = machine()
    with servers.ours(servers.Shop(options.data, options.model_repository), on) as address:
        os.sched_setaffinity(0, own)
        result = result_of(measure(address, what, options.rounds))
    for name, figures in result["results"].items():
        print(f"{name:<38} median {figures['median_ms']:.2f} ms, {figures['median_over_rank_100']:.2f}× {RANK}")
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "recommend.json", {"how": HOW, "machine": measured_on, "rounds": options.rounds, **result})
    print(f"recommend: {options.out / 'recommend.json'}")


if __name__ == "__main__":
    main()
