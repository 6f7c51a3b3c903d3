"""Reading and writing online features: the packed store beside Feast's own, on the same views, rows and keys.

Run as `python -m benchmarks.features`; writes benchmarks/results/features.json and features.png. Readers take turns
within every round, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from feast import FeatureStore

from benchmarks import feature_stores as stores
from benchmarks.feature_plots import plot
from benchmarks.redis_server import redis_server
from feature_repo.packed import packed_store
from feature_repo.packed.keys import keys_of
from feature_repo.packed.lmdb_backend import LmdbBackend
from feature_repo.packed.redis_backend import RedisBackend
from feature_repo.packed.redis_keys import redis_keys
from feature_repo.packed.view import table_of
from feature_repo.paths import write_json
from shoprank.cli.console import quiet

ITEMS, USERS = 5_000, 200
COUNTS = (1, 10, 100, 500)
READS_A_TURN = 10
Read = Callable[[Sequence[str]], object]
PRECOMPUTED = f"{stores.FEAST_REDIS}, precomputed"
TYPES = {"bought": np.int64, "times": np.int64, "amounts": np.float32}


def by_feast(store: FeatureStore, service: str, key: str) -> Read:
    """`get_online_features` of a feature service; by full names, for which alone Feast finds its precomputed rows."""
    features = store.get_feature_service(service)
    return lambda ids: store.get_online_features(
        features=features, entity_rows=[{key: i} for i in ids], full_feature_names=True
    )


def items_in_bulk(store: FeatureStore) -> Read:
    """Items as one float32 array, a mask and ages."""
    online, view, config = packed_store(store), store.get_feature_view("items"), store.config

    def read(ids: Sequence[str]) -> object:
        (rows,) = online.read(config, [(view, ids)])
        return rows.matrix(stores.ITEM_FEATURES), rows.present(stores.ITEM_FEATURES), rows.ages(time.time())

    return read


def user_in_bulk(store: FeatureStore) -> Read:
    """A user's numbers as an array, and the history's lists as arrays."""
    online, config = packed_store(store), store.config
    users, history = store.get_feature_view("users"), store.get_feature_view("history")

    def read(ids: Sequence[str]) -> object:
        numbers, lists = online.read(config, [(users, ids), (history, ids)])
        return numbers.matrix(stores.USER_FEATURES), [lists.arrays(name, dtype) for name, dtype in TYPES.items()]

    return read


def items_bare(store: FeatureStore) -> Read:
    """The same keys' bytes by one MGET of redis-py, nothing made of them."""
    backend = packed_store(store).backend(store.config)
    assert isinstance(backend, RedisBackend)
    client = backend.client()
    items = table_of(store.config, store.get_feature_view("items"))
    return lambda ids: client.mget(redis_keys(items, keys_of(["string_val"], ids)))


def request_in_bulk(store: FeatureStore) -> Read:
    """What a ranking request reads: one user with history (the first id), and items (the others)."""
    online, config = packed_store(store), store.config
    users, history = store.get_feature_view("users"), store.get_feature_view("history")
    items = store.get_feature_view("items")

    def read(ids: Sequence[str]) -> object:
        asked = [(users, ids[:1]), (history, ids[:1]), (items, ids[1:])]
        numbers, lists, rows = online.read(config, asked)
        return (
            numbers.matrix(stores.USER_FEATURES),
            [lists.arrays(name, dtype) for name, dtype in TYPES.items()],
            rows.matrix(stores.ITEM_FEATURES),
            rows.present(stores.ITEM_FEATURES),
        )

    return read


def request_bare(store: FeatureStore) -> Read:
    """The same keys' bytes from LMDB, nothing made of them."""
    backend = packed_store(store).backend(store.config)
    assert isinstance(backend, LmdbBackend)
    users, history, items = (table_of(store.config, store.get_feature_view(v)) for v in ("users", "history", "items"))

    def read(ids: Sequence[str]) -> object:
        keys = keys_of(["string_val"], ids)
        return backend.get([(users, keys[:1]), (history, keys[:1]), (items, keys[1:])])

    return read


def turns(readers: dict[str, Read], ids: Callable[[], Sequence[str]], rounds: int) -> dict[str, dict[str, float]]:
    """Median and 99th percentile in ms of every reader; they take turns at reading ten times, the same ids each."""
    times: dict[str, list[float]] = {name: [] for name in readers}
    for read in readers.values():
        read(ids())
    for _ in range(rounds):
        asked = [ids() for _ in range(READS_A_TURN)]
        for name, read in readers.items():
            for some in asked:
                began = time.perf_counter()
                read(some)
                times[name].append(time.perf_counter() - began)
    return {
        name: {"median_ms": float(np.median(taken) * 1e3), "p99_ms": float(np.quantile(taken, 0.99) * 1e3)}
        for name, taken in times.items()
    }


def measure_reads(folder: Path, redis_port: int, rounds: int) -> dict[str, Any]:
    """Reading 1 to 500 items, one user, and a whole request, from every store."""
    stores.write_items(folder / "items.parquet", ITEMS)
    stores.write_users(folder / "users.parquet", folder / "history.parquet", USERS)
    rng = np.random.default_rng(2)
    opened = {}
    for name in (stores.FEAST_SQLITE, stores.FEAST_REDIS, stores.PACKED_LMDB, stores.PACKED_REDIS):
        store = opened[name] = stores.open_store(name, folder, redis_port)
        objects = stores.views(folder)
        with quiet():
            store.apply([*objects, *stores.services(objects, precomputed=False)])
            stores.materialize(store, "items", "users", "history")
    precomputed = precompute(folder, redis_port)
    packed = (stores.PACKED_LMDB, stores.PACKED_REDIS)
    items = {
        name: by_feast(store, "item_row", "item_id") for name, store in (opened | {PRECOMPUTED: precomputed}).items()
    }
    items |= {f"{name}, bulk": items_in_bulk(opened[name]) for name in packed}
    items["bare MGET"] = items_bare(opened[stores.PACKED_REDIS])
    users = {
        name: by_feast(store, "user_row", "user_id") for name, store in (opened | {PRECOMPUTED: precomputed}).items()
    }
    users |= {f"{name}, bulk": user_in_bulk(opened[name]) for name in packed}

    def some(count: int) -> list[str]:
        return [f"i{i}" for i in rng.choice(ITEMS, count, replace=False)]

    def user() -> list[str]:
        return [f"u{rng.integers(USERS)}"]

    result: dict[str, Any] = {"items": {}}
    for count in COUNTS:
        result["items"][str(count)] = turns(items, lambda count=count: some(count), rounds)  # type: ignore[misc]
        print(f"features: {count} items read", flush=True)
    result["user"] = turns(users, user, rounds)
    embedded = opened[stores.PACKED_LMDB]
    request = {"bare LMDB": request_bare(embedded), "arrays": request_in_bulk(embedded)}
    result["request"] = turns(request, lambda: user() + some(500), rounds * 2)
    check(opened, rng)
    return result


def precompute(folder: Path, redis_port: int) -> FeatureStore:
    """Feast's own shortcut, one blob an entity, on its Redis store: Feast 0.67 can fill it on no other."""
    own = folder / "precomputed"
    own.mkdir(exist_ok=True)
    store = stores.open_store(stores.FEAST_REDIS, own, redis_port)
    store.config.online_store.connection_string = f"127.0.0.1:{redis_port},db=2"
    objects = stores.views(folder)
    with quiet():
        store.apply([*objects, *stores.services(objects, precomputed=True)])
        stores.materialize(store, "items", "users", "history")
    print(f"features: {PRECOMPUTED}", flush=True)
    return store


def check(opened: dict[str, FeatureStore], rng: np.random.Generator) -> None:
    """All stores and ways give the same numbers. Raises AssertionError where they do not."""
    ids = [f"i{i}" for i in rng.choice(ITEMS, 50, replace=False)]
    answers: list[npt.NDArray[np.float32]] = []
    for store in opened.values():
        answer = store.get_online_features(
            features=[f"items:{name}" for name in stores.ITEM_FEATURES], entity_rows=[{"item_id": i} for i in ids]
        ).to_dict()
        answers.append(np.array([answer[name] for name in stores.ITEM_FEATURES], np.float32).T)
    for name in (stores.PACKED_LMDB, stores.PACKED_REDIS):
        store = opened[name]
        (rows,) = packed_store(store).read(store.config, [(store.get_feature_view("items"), ids)])
        answers.append(rows.matrix(stores.ITEM_FEATURES))
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """The figures that the packed store is held to."""
    hundred, request = result["reads"]["items"]["100"], result["reads"]["request"]

    def against(slow: str, fast: str) -> float:
        return float(hundred[slow]["median_ms"] / hundred[fast]["median_ms"])

    engines = result["materialization"]
    return {
        "bulk_lmdb_over_feast_sqlite": against(stores.FEAST_SQLITE, f"{stores.PACKED_LMDB}, bulk"),
        "bulk_redis_over_feast_redis": against(stores.FEAST_REDIS, f"{stores.PACKED_REDIS}, bulk"),
        "get_online_features_lmdb_over_feast_sqlite": against(stores.FEAST_SQLITE, stores.PACKED_LMDB),
        "get_online_features_redis_over_feast_redis": against(stores.FEAST_REDIS, stores.PACKED_REDIS),
        "bulk_redis_over_feast_redis_precomputed": against(PRECOMPUTED, f"{stores.PACKED_REDIS}, bulk"),
        "bulk_redis_over_bare_mget": (
            hundred[f"{stores.PACKED_REDIS}, bulk"]["median_ms"] / hundred["bare MGET"]["median_ms"]
        ),
        "request_ms": float(request["arrays"]["median_ms"]),
        "request_over_bare_lmdb": float(request["arrays"]["median_ms"] / request["bare LMDB"]["median_ms"]),
        "materialization_over_feast_sqlite": (
            engines[stores.PACKED_LMDB]["values_per_second"] / engines[stores.FEAST_SQLITE]["values_per_second"]
        ),
        "materialize_1m_items_peak_gb": engines["1,000,000 × 32"]["peak_gb"],
    }


def in_a_process(module: str, *arguments: str) -> dict[str, Any]:
    """What `python -m module` prints as JSON in its last line, in a process of its own, its peak memory so too."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(arguments)}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--entities", type=int, default=5_000_000, help="largest number of entities in the scaling part"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shoprank-")))
        port = stack.enter_context(redis_server(folder))
        result: dict[str, Any] = {"rounds": options.rounds, "reads": measure_reads(folder, port, options.rounds)}
    result["materialization"] = {
        name: in_a_process("benchmarks.feature_writes", name, "100000", "16")
        for name in (stores.FEAST_SQLITE, stores.PACKED_LMDB, stores.PACKED_REDIS)
    }
    result["materialization"]["1,000,000 × 32"] = in_a_process(
        "benchmarks.feature_writes", stores.PACKED_LMDB, "1000000", "32"
    )
    print("features: materialization measured", flush=True)
    result["scale"] = in_a_process("benchmarks.feature_scale", str(options.entities))
    result["ratios"] = ratios(result)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "features.json", result)
    plot(result, options.out / "features.png")
    for name, value in result["ratios"].items():
        print(f"  {name}: {value:.2f}")
    print(f"features: {options.out / 'features.json'} and {options.out / 'features.png'}")


if __name__ == "__main__":
    main()
