"""Feast feature stores on a packed online store and on Feast's own SQLite, and a small shop's views for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Float64, Int64, String, UnixTimestamp

from tests.packed_values import canonical

Online = dict[str, Any]
NOW = datetime.now(UTC).replace(microsecond=0)
"""Feast's SQLite store keeps whole seconds, so what is compared with it is written at such."""
YESTERDAY, TWO_WEEKS_AGO = NOW - timedelta(days=1), NOW - timedelta(days=14)


def settings(root: Path, online: Online, versions: bool = False, **more: Any) -> dict[str, Any]:
    """Feast's `RepoConfig` of a store in a folder, as plain data. versions: whether views are kept by version."""
    registry = {"path": str(root / "registry.db"), "enable_online_feature_view_versioning": versions}
    return {
        "project": "shop",
        "provider": "local",
        "registry": registry,
        "online_store": online,
        "entity_key_serialization_version": 3,
        "repo_path": str(root),
    } | more


def packed(root: Path, online: Online, **more: Any) -> dict[str, Any]:
    """Settings of a packed store with its own engine."""
    own = {"type": "feature_repo.packed.PackedOnlineStore", "map_size_gb": 1.0, "durable": False}
    engine = {"type": "feature_repo.packed.PackedComputeEngine"}
    return settings(root, own | online, batch_engine=engine, **more)


def sqlite(root: Path, **more: Any) -> dict[str, Any]:
    """Settings of Feast's own store with its local engine."""
    return settings(root, {"type": "sqlite", "path": str(root / "online.db")}, **more)


def feature_store(config: Mapping[str, Any]) -> FeatureStore:
    """The store of these settings."""
    return FeatureStore(config=RepoConfig(**config))


@dataclass
class Pair:
    """A packed store and Feast's own, with the same views and rows.

    config: settings of the packed store.
    """

    packed: FeatureStore
    feast: FeatureStore
    config: dict[str, Any]

    @classmethod
    def at(cls, root: Path, online: Online, **more: Any) -> Pair:
        """Two empty stores in a folder."""
        config = packed(root / "packed", online, **more)
        for name in ("packed", "feast"):
            (root / name).mkdir()
        return cls(feature_store(config), feature_store(sqlite(root / "feast", **more)), config)

    @property
    def both(self) -> tuple[FeatureStore, FeatureStore]:
        """The two stores."""
        return self.packed, self.feast

    def apply(self, definitions: Callable[[], list[Any]]) -> None:
        """Apply definitions, made anew for each store, as applying changes them."""
        for store in self.both:
            store.apply(definitions())

    def fill(self) -> None:
        """Write the shop's rows."""
        for store in self.both:
            for name, rows in shop_rows(store).items():
                write(store, name, rows)

    def same(self, features: Any, entities: Any, **more: Any) -> Any:
        """What the packed store answers, having checked that Feast's own answers the same, and the packed one again
        when asked asynchronously, which SQLite cannot be. features: of a service, its name."""
        asked = self.packed.get_feature_service(features) if isinstance(features, str) else features
        mine = self.packed.get_online_features(asked, entities, **more)
        assert content(mine) == content(asyncio.run(asynchronously(self.packed, asked, entities, **more)))
        asked = self.feast.get_feature_service(features) if isinstance(features, str) else features
        feasts = self.feast.get_online_features(asked, entities, **more)
        assert content(mine, ages=False) == content(feasts)
        assert plain(mine.to_dict()) == plain(feasts.to_dict())
        assert plain(mine.to_df().to_dict()) == plain(feasts.to_df().to_dict())
        return mine

    def close(self) -> None:
        """Remove all rows and close."""
        self.packed.teardown()


async def asynchronously(store: FeatureStore, features: Any, entities: Any, **more: Any) -> Any:
    """Online features, asked asynchronously, of connections opened and closed for it."""
    await store.initialize()
    try:
        return await store.get_online_features_async(features, entities, **more)
    finally:
        await store.close()


def content(response: Any, ages: bool = True) -> dict[str, list[tuple[bytes, int, int]]]:
    """Value, status and event time (ns since 1970) of each row of each feature, in the order of the answer.

    ages: whether a value past its time to live is told from others, which Feast's SQLite store does not do.
    """
    proto, spent = response.proto, None if ages else FieldStatus.OUTSIDE_MAX_AGE
    return {
        name: [
            (canonical(value), FieldStatus.PRESENT if status == spent else status, time.ToNanoseconds())
            for value, status, time in zip(vector.values, vector.statuses, vector.event_timestamps, strict=True)
        ]
        for name, vector in zip(proto.metadata.feature_names.val, proto.results, strict=True)
    }


def plain(value: Any) -> str:
    """The value written out, for comparing what has NaN in it, and sets in some order."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {plain(content)}" for name, content in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(plain, value)) + "]"
    return "set " + repr(sorted(map(repr, value))) if isinstance(value, set) else repr(value)


def key(**values: Value) -> EntityKey:
    """Feast's key of an entity."""
    return EntityKey(join_keys=list(values), entity_values=list(values.values()))


Rows = Sequence[tuple[EntityKey, Mapping[str, Value], datetime, datetime | None]]


def write(store: FeatureStore, view: str, rows: Rows) -> None:
    """Write rows as Feast's provider does."""
    store._get_provider().online_write_batch(store.config, store.get_feature_view(view), rows, None)


def read(store: FeatureStore, view: str, keys: Sequence[EntityKey], features: list[str] | None = None) -> Any:
    """Read rows as Feast's provider does."""
    return store._get_provider().online_read(store.config, store.get_feature_view(view), list(keys), features)


def user(name: str) -> EntityKey:
    """Feast's key of a user."""
    return key(user_id=Value(string_val=name))


def source(root: Path, name: str) -> FileSource:
    """A source in a file that may not be there."""
    path = root / f"{name}.parquet"
    if not path.exists():
        pd.DataFrame({"event_timestamp": [NOW], "user_id": ["u0"], "item_id": [0]}).to_parquet(path)
    return FileSource(name=name, path=str(path), timestamp_field="event_timestamp")


def shop(root: Path) -> list[Any]:
    """Views of users, of users and items, and of the whole shop; on-demand views and feature services."""
    person = Entity(name="person", join_keys=["user_id"], value_type=ValueType.STRING)
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
    profile = FeatureView(
        name="profile",
        entities=[person],
        ttl=timedelta(days=2),
        schema=[
            Field(name="user_id", dtype=String),
            Field(name="clicks", dtype=Int64),
            Field(name="spent", dtype=Float32),
            Field(name="city", dtype=String),
            Field(name="trail", dtype=Array(Int64)),
            Field(name="joined", dtype=UnixTimestamp),
        ],
        source=PushSource(name="profile_push", batch_source=source(root, "profile_source")),
    )
    affinity = FeatureView(
        name="affinity",
        entities=[item, person],
        ttl=timedelta(0),
        schema=[
            Field(name="user_id", dtype=String),
            Field(name="item_id", dtype=Int64),
            Field(name="clicks", dtype=Int64),
            Field(name="score", dtype=Float64),
        ],
        source=source(root, "affinity_source"),
    )
    totals = FeatureView(
        name="totals", entities=[], schema=[Field(name="orders", dtype=Int64)], source=source(root, "totals_source")
    )

    @on_demand_feature_view(
        sources=[profile], schema=[Field(name="clicks_twice", dtype=Int64), Field(name="town", dtype=String)]
    )
    def doubled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"clicks_twice": 2 * inputs["clicks"].fillna(0).astype(int), "town": inputs["city"] + "!"})

    services = [
        FeatureService(name="everything", features=[profile, affinity, totals, doubled]),
        FeatureService(name="some", features=[profile[["city"]], affinity[["score"]]]),
        FeatureService(
            name="buyers_and_sellers",
            features=[
                profile.with_name("buyer").with_join_key_map({"user_id": "buyer_id"}),
                profile[["city", "clicks"]].with_name("seller").with_join_key_map({"user_id": "seller_id"}),
            ],
        ),
    ]
    return [person, item, profile, affinity, totals, doubled, *services]


CITIES = ("Tromsø", "", "a\0b", None, "漢字")


def shop_rows(store: FeatureStore) -> dict[str, Rows]:
    """Rows of the shop's views: of users u0 to u4, one of them past the time to live."""
    rng = random.Random(1)
    profiles, affinities = [], []
    for i, city in enumerate(CITIES):
        trail = Value()
        trail.int64_list_val.val.extend(range(i))
        values = {
            "clicks": Value(int64_val=i * 10**17),
            "spent": Value(float_val=rng.random()) if i != 2 else Value(),
            "city": Value() if city is None else Value(string_val=city),
            "trail": trail,
            "joined": Value(unix_timestamp_val=rng.randrange(-(10**9), 10**9)),
        }
        profiles.append((user(f"u{i}"), values, YESTERDAY if i != 1 else TWO_WEEKS_AGO, NOW if i else None))
        for j in range(3):
            both = key(item_id=Value(int64_val=j - 1), user_id=Value(string_val=f"u{i}"))
            numbers = {"clicks": Value(int64_val=i - j), "score": Value(double_val=rng.random())}
            affinities.append((both, numbers, TWO_WEEKS_AGO, None))
    whole = key(__dummy_id=Value(string_val=""))
    return {"profile": profiles, "affinity": affinities, "totals": [(whole, {"orders": Value(int64_val=7)}, NOW, None)]}
