"""Many rankings at once: batch-score and BatchRankItems beside a raw ONNX Runtime loop, streams beside single calls.

Run as `python -m benchmarks.batch`; writes benchmarks/results/batch.json. The raw loop runs the same model on prepared
inputs in the same batch sizes, on one core: nothing is read, no feature is computed, nothing is written. Everything is
counted in processor seconds of the process that works, so that what else the machine does falls out; the contenders
take turns within every round.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.paths import DataPaths, write_json
from server.batch.run import Job, Opened, write
from server.batch.score import ROWS_A_RUN, wanted_of
from server.batch.source import Kind, parts_of
from server.models.model import OUTPUTS, assembled
from server.towers import Asked
from shoprank.bundle import ITEM_TOWER, TOP, current
from shoprank.v1.ranking_pb2 import BatchRankItemsRequest, RankItemsRequest

SERVICE = "/shoprank.v1.RankingService"
METHOD = f"{SERVICE}/RankItems"
USERS, CANDIDATES = 100, 100
PAIRS_A_USER = 200
ROUNDS = 5
CALLS = 2_000
"""Rankings of a round, of each way to ask for them."""


def pairs(paths: DataPaths, users: int, each: int) -> pa.Table:
    """Random items for some users, user by user."""
    rng = np.random.default_rng(0)
    user_ids = pq.read_table(paths.users, columns=["user_id"])["user_id"].to_pylist()
    item_ids = pq.read_table(paths.items, columns=["item_id"])["item_id"].to_pylist()
    chosen = [rng.choice(len(item_ids), each, replace=False) for _ in range(users)]
    return pa.table(
        {
            "user_id": [user_ids[u % len(user_ids)] for u in range(users) for _ in range(each)],
            "item_id": [item_ids[i] for some in chosen for i in some],
        }
    )


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process that the work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def raw_loops(opened: Opened, table: pa.Table, each: int, rows: int) -> dict[str, Callable[[], None]]:
    """Loops over prepared inputs of the table's pairs, `rows` a run: of the whole graph, and of its upper layers'."""
    towers = opened.model.towers
    if towers is None:
        raise SystemExit(f"batch: the model has no {ITEM_TOWER} and {TOP}; train it again")
    ids = table["user_id"].to_pylist()[::each]
    stored, _ = opened.features.users(ids)
    items = table["item_id"].combine_chunks()
    version = opened.features.items_version()
    whole, parts = [], []
    a_run = max(1, rows // each)
    for first in range(0, len(ids), a_run):
        users = range(first, min(first + a_run, len(ids)))
        asked = [
            Asked(stored[u].row, opened.items.find(wanted_of(items[u * each : (u + 1) * each]), version), opened.time)
            for u in users
        ]
        inputs = [assembled(one) for one in asked]
        whole.append(
            {
                "numeric": np.concatenate([one.numeric for one in inputs]),
                "categorical": np.concatenate([one.categorical for one in inputs]),
            }
        )
        count = sum(len(one.items) for one in asked)
        parts.append({"hidden": towers.first_layer(asked, np.empty((count, towers.hidden), np.float32))})

    def loop(session: Any, feeds: list[dict[str, Any]]) -> None:
        for feed in feeds:
            session.run(OUTPUTS, feed)

    return {
        "model.onnx": lambda: loop(opened.model.session, whole),
        TOP: lambda: loop(towers.top, parts),
    }


def offline(job: Job, table: pa.Table, each: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Rows a second of batch-score, from a Parquet file to one, beside the raw loops."""
    file = folder / "pairs.parquet"
    pq.write_table(table, file)
    (part,) = parts_of(file)[1]
    opened = Opened(job)
    contenders: dict[str, Callable[[], object]] = {
        "batch-score": lambda: write(opened, job, part, Kind.PAIRS),
        **raw_loops(opened, table, each, ROWS_A_RUN),
    }
    return rates(contenders, table.num_rows, rounds) | {"rows": table.num_rows, "rows_a_run": ROWS_A_RUN}


def rates(contenders: Mapping[str, Callable[[], object]], rows: int, rounds: int) -> dict[str, Any]:
    """Rows a processor second of each contender, the median of the rounds, and the first's share of the others'."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for work in contenders.values():
        work()
    for _ in range(rounds):
        for name, work in contenders.items():
            taken[name].append(seconds(work))
    rate = {name: rows / float(np.median(some)) for name, some in taken.items()}
    first, *others = rate
    return {"rows_per_second": rate, "ratio": {name: rate[first] / rate[name] for name in others}}


@contextmanager
def served(data: Path, models: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server's address and process."""
    command = ["-m", "shoprank", "serve", "--port", "0", "--clock", "snapshot"]
    command += ["--data", str(data), "--model-repository", str(models)]
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        if not (line := server.stdout.readline()):
            raise SystemExit("batch: the server did not start")
        yield line.split()[-1], psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(30)


def online(address: str, process: psutil.Process, table: pa.Table, rounds: int) -> dict[str, dict[str, float]]:
    """Server's processor microseconds a ranking, and rankings a second, by single calls, a stream and batches."""
    users, items = table["user_id"].to_pylist(), table["item_id"].to_pylist()
    asked = [
        RankItemsRequest(user_id=users[at], item_ids=items[at : at + CANDIDATES])
        for at in range(0, len(users), CANDIDATES)
    ]
    requests = [one.SerializeToString() for one in asked]
    batch = BatchRankItemsRequest(requests=asked).SerializeToString()
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        one: Any = channel.unary_unary(METHOD, None, None)
        stream: Any = channel.stream_stream(f"{SERVICE}/StreamRankItems", None, None)
        many: Any = channel.unary_unary(f"{SERVICE}/BatchRankItems", None, None)

        def by_calls() -> None:
            def client(first: int) -> None:
                for n in range(first, CALLS, 4):
                    one(requests[n % len(requests)])

            threads = [threading.Thread(target=client, args=(first,)) for first in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        def by_stream() -> None:
            for _ in stream(requests[n % len(requests)] for n in range(CALLS)):
                pass

        def by_batch() -> None:
            for _ in range(CALLS // USERS):
                many(batch)

        ways = {"RankItems": by_calls, "StreamRankItems": by_stream, "BatchRankItems": by_batch}
        return turns(ways, process, rounds)


def turns(ways: dict[str, Callable[[], None]], process: psutil.Process, rounds: int) -> dict[str, dict[str, float]]:
    """Each way in turn, the median of the rounds."""
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            before, began = sum(process.cpu_times()[:2]), time.perf_counter()
            way()
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(sum(process.cpu_times()[:2]) - before)
    return {
        name: {
            "server_microseconds_a_ranking": float(np.median(cpu[name])) / CALLS * 1e6,
            "rankings_per_second": CALLS / float(np.median(wall[name])),
        }
        for name in ways
    }


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    paths = DataPaths(options.data)
    few = pairs(paths, USERS, CANDIDATES)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(paths, current(options.model_repository, "purchase"), Path(folder) / "out")
        scored = offline(job, pairs(paths, 500, PAIRS_A_USER), PAIRS_A_USER, options.rounds, Path(folder))
        loops = raw_loops(Opened(job), few, CANDIDATES, USERS * CANDIDATES)
        raw = rates(loops, few.num_rows, options.rounds)["rows_per_second"]
    with served(options.data, options.model_repository) as (address, process):
        ranked = online(address, process, few, options.rounds)
    batch_rows = CANDIDATES / ranked["BatchRankItems"]["server_microseconds_a_ranking"] * 1e6
    calls, stream = ranked["RankItems"], ranked["StreamRankItems"]
    result = {
        "rounds": options.rounds,
        "batch-score": scored,
        "BatchRankItems": {
            "users": USERS, "candidates": CANDIDATES, "rows_per_second": {"BatchRankItems": batch_rows, **raw},
            "ratio": {name: batch_rows / rate for name, rate in raw.items()},
        },
        "server": ranked,
        "StreamRankItems beside RankItems": {
            "per_processor_second": calls["server_microseconds_a_ranking"] / stream["server_microseconds_a_ranking"],
            "throughput": stream["rankings_per_second"] / calls["rankings_per_second"],
        },
    }  # fmt: skip
    result["ratios"] = {
        "batch_score_rows_over_onnxruntime": result["batch-score"]["ratio"]["model.onnx"],
        "batch_rank_items_rows_over_onnxruntime": result["BatchRankItems"]["ratio"]["model.onnx"],
        "stream_over_unary_per_core": result["StreamRankItems beside RankItems"]["per_processor_second"],
    }
    write_json(options.out / "batch.json", result)
    for name in ("batch-score", "BatchRankItems"):
        shown = ", ".join(f"{rate:,.0f} {what}" for what, rate in result[name]["rows_per_second"].items())
        shares = ", ".join(f"{share:.2f} of {what}" for what, share in result[name]["ratio"].items())
        print(f"{name}: rows a processor second: {shown}; {shares}")
    ratio = result["StreamRankItems beside RankItems"]
    print(f"StreamRankItems beside RankItems: {ratio['per_processor_second']:.1f}× a processor second, "
          f"{ratio['throughput']:.1f}× throughput; {options.out / 'batch.json'}")  # fmt: skip


if __name__ == "__main__":
    main()
