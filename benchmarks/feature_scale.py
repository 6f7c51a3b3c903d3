"""How reading 100 items grows with the number of entities, and bytes an entity: `python -m benchmarks.feature_scale N`.

Prints one line of JSON. Packed LMDB is measured at 10,000 entities and ten times as many each, up to N; bytes an entity
in every store at 100,000, for they do not depend on the number.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import redis
from feast import FeatureStore

from benchmarks import feature_stores as stores
from benchmarks.redis_server import redis_server
from feature_repo.packed import packed_store
from feature_repo.packed.engine import load
from feature_repo.packed.lmdb_backend import LmdbBackend
from shoprank.cli.console import quiet

SMALL = 100_000
KEYS = 100


def batches(count: int) -> Iterator[pa.RecordBatch]:
    """Item rows as Arrow batches, never all at once."""
    rng = np.random.default_rng(3)
    for start in range(0, count, 100_000):
        size = min(100_000, count - start)
        columns: dict[str, Any] = {
            "item_id": [f"i{i}" for i in range(start, start + size)],
            "event_timestamp": pa.array([stores.NOW] * size, pa.timestamp("us", "UTC")),
        }
        yield pa.record_batch(columns | {name: rng.random(size, np.float32) for name in stores.ITEM_FEATURES})


def read_times(store: FeatureStore, count: int, rounds: int = 2_000) -> dict[str, float]:
    """Median and 99th percentile in ms of reading 100 random items into an array."""
    online, view = packed_store(store), store.get_feature_view("items")
    rng = np.random.default_rng(4)
    taken = []
    for _ in range(rounds):
        ids = [f"i{i}" for i in rng.integers(0, count, KEYS)]
        began = time.perf_counter()
        (rows,) = online.read(store.config, [(view, ids)])
        rows.matrix(stores.ITEM_FEATURES)
        taken.append(time.perf_counter() - began)
        assert rows.found.all()
    return {"median_ms": float(np.median(taken) * 1e3), "p99_ms": float(np.quantile(taken, 0.99) * 1e3)}


def disk(folder: Path) -> int:
    """Bytes that the files below a folder take on disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def embedded(count: int) -> dict[str, Any]:
    """Load so many entities into LMDB and read them."""
    with tempfile.TemporaryDirectory(prefix="shoprank-") as name:
        folder = Path(name)
        stores.write_items(folder / "items.parquet", 10)
        stores.write_users(folder / "users.parquet", folder / "history.parquet", 10)
        store = stores.open_store(stores.PACKED_LMDB, folder, 0)
        with quiet():
            store.apply(stores.views(folder))
        online, view = packed_store(store), store.get_feature_view("items")
        began = time.perf_counter()
        load(store.config, online, view, batches(count))
        seconds = time.perf_counter() - began
        backend = online.backend(store.config)
        assert isinstance(backend, LmdbBackend)
        size = disk(backend.folder("bench/items"))
        times = read_times(store, count)
        online.close()
        return {"entities": count, "load_seconds": seconds, "bytes_per_entity": size / count, **times}


def bytes_an_entity() -> dict[str, float]:
    """Bytes an entity of 16 float32 features, in each store, at 100,000 entities."""
    sizes = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shoprank-")))
        port = stack.enter_context(redis_server(folder))
        stores.write_items(folder / "items.parquet", SMALL)
        stores.write_users(folder / "users.parquet", folder / "history.parquet", 10)
        client = redis.Redis(port=port)
        for name in (stores.FEAST_SQLITE, stores.FEAST_REDIS, stores.PACKED_LMDB, stores.PACKED_REDIS):
            store = stores.open_store(name, folder, port)
            before = used(client) if name.endswith("Redis") else disk(folder)
            with quiet():
                store.apply(stores.views(folder))
                stores.materialize(store, "items")
            after = used(client) if name.endswith("Redis") else disk(folder)
            sizes[name] = (after - before) / SMALL
    return sizes


def used(client: redis.Redis) -> int:
    """Bytes that Redis uses."""
    memory: Any = client.info("memory")
    return int(memory["used_memory"])


def main() -> None:
    """Measure and print."""
    most = int(sys.argv[1])
    counts = sorted({min(10_000 * 10**k, most) for k in range(8)})
    print(json.dumps({"reads": [embedded(count) for count in counts], "bytes_per_entity": bytes_an_entity()}))


if __name__ == "__main__":
    main()
