"""The rankings that are asked for: random users, random items that sold in the last 84 days."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pyarrow.parquet as pq

from benchmarks.load.job import METHOD
from benchmarks.load.traffic import Traffic
from feature_repo.paths import DataPaths
from feature_repo.snapshots import snapshot_path
from shoprank.v1.ranking_pb2 import RankItemsRequest
from training.schedule import Schedule

REQUESTS = 500


def requests(paths: DataPaths, candidates: int, seed: int = 0, count: int = REQUESTS) -> list[bytes]:
    """Serialized requests of RankItems with so many candidates each; the same for the same seed and data."""
    rng = np.random.default_rng([seed, candidates])
    cutoff = Schedule.read(paths).serving
    users = pq.read_table(snapshot_path(paths, "user_features", cutoff), columns=["user_id"])["user_id"].to_pylist()
    items = pq.read_table(snapshot_path(paths, "item_features", cutoff), columns=["item_id", "item_purchases_84d"])
    sold = items.filter(items["item_purchases_84d"].to_numpy() > 0)["item_id"].to_pylist()
    return [
        RankItemsRequest(
            user_id=users[rng.integers(len(users))],
            item_ids=[sold[i] for i in rng.choice(len(sold), candidates, replace=False)],
        ).SerializeToString()
        for _ in range(count)
    ]


def replies(address: str, asked: list[bytes]) -> list[bytes]:
    """What a server answers, one call after another."""
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        return [ask(request, timeout=60) for request in asked]


def recorded(address: str, paths: DataPaths, candidates: int, folder: Path) -> Traffic:
    """Requests with the replies of the server at `address`, also written to the folder."""
    asked = requests(paths, candidates)
    traffic = Traffic(asked, replies(address, asked))
    traffic.write(folder)
    return traffic


def check(name: str, address: str, traffic: Traffic, count: int = REQUESTS) -> None:
    """Ask a server the first requests of the traffic. Raises SystemExit where any reply is not the right one."""
    answers = replies(address, traffic.requests[:count])
    if wrong := traffic.wrong(enumerate(answers)):
        raise SystemExit(f"bench: {name}: {wrong} of {len(answers)} replies are not those of shoprank over LMDB")
