"""Synthetic features in one Feast repository a store: Feast's SQLite and Redis stores, and the packed store in LMDB and
Redis, all with the same views and rows. Seeded; numbers are uniform, histories are lists of 500."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource
from feast.repo_config import RepoConfig
from feast.types import Array, Float32, Int64, String
from feast.value_type import ValueType

ITEM_FEATURES = tuple(f"item_{j}" for j in range(16))
USER_FEATURES = tuple(f"user_{j}" for j in range(20))
HISTORY = {"bought": Int64, "times": Int64, "amounts": Float32}
HISTORY_LENGTH = 500
NOW = datetime.now(UTC).replace(microsecond=0)

FEAST_SQLITE, FEAST_REDIS = "Feast SQLite", "Feast Redis"
PACKED_LMDB, PACKED_REDIS = "packed LMDB", "packed Redis"


def write_items(path: Path, count: int, features: tuple[str, ...] = ITEM_FEATURES, seed: int = 0) -> None:
    """Item rows `i0`, `i1`, …: float32 features, all of the same time."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"item_id": [f"i{i}" for i in range(count)], "event_timestamp": [NOW] * count}
    pq.write_table(pa.table(columns | {name: rng.random(count, np.float32) for name in features}), path)


def write_users(features: Path, history: Path, count: int, seed: int = 1) -> None:
    """User rows `u0`, `u1`, …: float32 features in one file, lists of 500 in another."""
    rng = np.random.default_rng(seed)
    ids: dict[str, Any] = {"user_id": [f"u{i}" for i in range(count)], "event_timestamp": [NOW] * count}
    pq.write_table(pa.table(ids | {name: rng.random(count, np.float32) for name in USER_FEATURES}), features)
    flat = count * HISTORY_LENGTH
    lists = {
        "bought": rng.integers(0, 100_000, flat),
        "times": rng.integers(1_600_000_000, 1_700_000_000, flat),
        "amounts": rng.random(flat, np.float32),
    }
    offsets = np.arange(0, flat + 1, HISTORY_LENGTH, dtype=np.int32)
    arrays = {name: pa.ListArray.from_arrays(offsets, values) for name, values in lists.items()}
    pq.write_table(pa.table(ids | arrays), history)


def views(folder: Path, item_features: tuple[str, ...] = ITEM_FEATURES) -> list[Any]:
    """The entities, views and services over the files of `folder`."""
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)

    def view(name: str, entity: Entity, fields: list[Field]) -> FeatureView:
        return FeatureView(
            name=name,
            entities=[entity],
            ttl=timedelta(days=365),
            schema=[Field(name=entity.join_key, dtype=String), *fields],
            source=FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp"),
        )

    items = view("items", item, [Field(name=name, dtype=Float32) for name in item_features])
    users = view("users", user, [Field(name=name, dtype=Float32) for name in USER_FEATURES])
    history = view("history", user, [Field(name=name, dtype=Array(kind)) for name, kind in HISTORY.items()])
    return [item, user, items, users, history]


def services(objects: list[Any], precomputed: bool) -> list[FeatureService]:
    """A service for items and one for users."""
    _, _, items, users, history = objects
    return [
        FeatureService(name="item_row", features=[items], precompute_online=precomputed),
        FeatureService(name="user_row", features=[users, history], precompute_online=precomputed),
    ]


def open_store(name: str, folder: Path, redis_port: int) -> FeatureStore:
    """The Feast store of that name, its files below `folder`."""
    online: dict[str, dict[str, Any]] = {
        FEAST_SQLITE: {"type": "sqlite", "path": str(folder / "sqlite.db")},
        FEAST_REDIS: {"type": "redis", "connection_string": f"127.0.0.1:{redis_port},db=0"},
        PACKED_LMDB: {"type": "feature_repo.packed.PackedOnlineStore", "path": str(folder / "lmdb")},
        PACKED_REDIS: {
            "type": "feature_repo.packed.PackedOnlineStore",
            "backend": "redis",
            "connection_string": f"redis://127.0.0.1:{redis_port}/1",
        },
    }
    config: dict[str, Any] = {
        "project": "bench",
        "provider": "local",
        "registry": str(folder / f"{name.replace(' ', '_')}.registry.db"),
        "offline_store": {"type": "duckdb"},
        "online_store": online[name],
        "entity_key_serialization_version": 3,
    }
    if name in (PACKED_LMDB, PACKED_REDIS):
        config["batch_engine"] = {"type": "feature_repo.packed.PackedComputeEngine"}
    return FeatureStore(config=RepoConfig(repo_path=folder, **config))


def materialize(store: FeatureStore, *names: str) -> float:
    """Materialize views and return the seconds it took."""
    began = time.perf_counter()
    store.materialize(NOW - timedelta(days=1), NOW + timedelta(days=1), feature_views=list(names))
    return time.perf_counter() - began
