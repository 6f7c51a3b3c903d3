"""Rows of items that a server keeps are those of the store: whoever writes, whenever, with LMDB and with Redis."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo import schema
from feature_repo.packed import packed_store
from feature_repo.packed.backend import KEPT_WRITES
from feature_repo.paths import DataPaths
from feature_repo.store import applied_store, apply, materialize
from server.features import OnlineFeatures
from server.items import Items, Wanted
from tests.conftest import Shop
from tests.redis_server import RedisServer

PRICE = [f.name for f in schema.ITEM_NUMBERS].index("item_price")


@pytest.fixture(params=["lmdb", "redis"])
def store(request: pytest.FixtureRequest, bare: DataPaths, trained: Shop) -> FeatureStore:
    paths = bare
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        paths = replace(bare, redis=own_database(server))
    apply(paths, trained.models)
    list(materialize(paths, trained.schedule.test))
    return applied_store(paths)


def own_database(server: RedisServer) -> str:
    """URL of an empty database that no other test uses."""
    url = f"{server.url.rpartition('/')[0] if server.url.count('/') > 2 else server.url}/9"
    redis.Redis.from_url(url).flushdb()
    return url


def push(store: FeatureStore, prices: dict[str, float], later: int = 1) -> None:
    """Write items of these prices, newer than what is there by so many seconds."""
    view = store.get_feature_view("item_features")
    moment = datetime.now(UTC) + timedelta(seconds=later)
    rows: list[Any] = []
    for item_id, price in prices.items():
        key = EntityKey(join_keys=["item_id"], entity_values=[Value(string_val=item_id)])
        values = {f.name: Value(float_val=0.0) for f in schema.ITEM_NUMBERS}
        values |= {f.name: Value(int64_val=1) for f in (*schema.ITEM_TIMES, *schema.ITEM_KEYS)}
        rows.append((key, values | {"item_price": Value(float_val=price)}, moment, None))
    packed_store(store).online_write_batch(store.config, view, rows, None)


def prices(items: Items, features: OnlineFeatures, *ids: str) -> list[float]:
    found = items.find(Wanted.of(ids), features.items_version())
    return [round(float(p), 3) for p in found.shelf.rows.numbers[found.positions, PRICE]]


def test_an_item_that_is_written_is_read_anew_and_the_others_are_kept(store: FeatureStore) -> None:
    features = OnlineFeatures(store)
    items = Items(features, 1_000)
    before = prices(items, features, "i1", "i2", "i3")
    shelf = items.shelf
    push(store, {"i2": 77.5})
    assert prices(items, features, "i1", "i2", "i3") == [before[0], 77.5, before[2]]
    assert items.shelf is shelf
    assert shelf.count == 4


def test_items_of_a_store_in_the_place_of_another_are_read_anew(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    store = applied_store(bare)
    features = OnlineFeatures(store)
    items = Items(features, 1_000)
    push(store, {"i1": 1.5, "i2": 2.5})
    assert prices(items, features, "i1", "i2") == [1.5, 2.5]
    shutil.rmtree(bare.root / "feast" / "online")
    push(store, {"i1": 3.5, "i2": 4.5})
    features.check()
    assert prices(items, features, "i1", "i2") == [3.5, 4.5]


def test_an_item_that_is_new_is_found(store: FeatureStore) -> None:
    features = OnlineFeatures(store)
    items = Items(features, 1_000)
    assert items.find(Wanted.of(["brand new"]), features.items_version()).unknown == ["brand new"]
    push(store, {"brand new": 3.25})
    assert prices(items, features, "brand new") == [3.25]


def test_more_writes_than_are_remembered_start_the_kept_rows_over(store: FeatureStore) -> None:
    features = OnlineFeatures(store)
    items = Items(features, 1_000)
    prices(items, features, "i1", "i2")
    for i in range(KEPT_WRITES + 2):
        push(store, {"i2": float(i)}, later=1 + i)
    assert prices(items, features, "i2") == [KEPT_WRITES + 1]


def test_rows_that_were_cleared_are_found_no_more(store: FeatureStore) -> None:
    features = OnlineFeatures(store)
    items = Items(features, 1_000)
    prices(items, features, "i1")
    packed_store(store).clear(store.config, store.get_feature_view("item_features"))
    assert items.find(Wanted.of(["i1"]), features.items_version()).unknown == ["i1"]


def test_a_full_shelf_starts_over_and_more_items_than_fit_are_still_answered(store: FeatureStore) -> None:
    features = OnlineFeatures(store)
    small, large = Items(features, 10), Items(features, 1_000)
    for start in range(0, 40, 4):
        ids = [f"i{i}" for i in range(start, start + 4)]
        assert prices(small, features, *ids) == prices(large, features, *ids)
    everything = [f"i{i}" for i in range(150)]
    assert prices(small, features, *everything) == prices(large, features, *everything)


def test_readers_never_see_an_older_price_than_the_version_they_learned(store: FeatureStore) -> None:
    features = OnlineFeatures(store)
    items = Items(features, 200)
    written: list[float] = [0.0]
    push(store, {"i5": 0.0})
    stop = threading.Event()
    wrong: list[tuple[float, float]] = []
    reads = [0]

    def read() -> None:
        while not stop.is_set():
            floor = written[0]
            (seen,) = prices(items, features, "i5")
            reads[0] += 1
            if seen < floor:
                wrong.append((seen, floor))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(1, 200):
        push(store, {"i5": float(i)}, later=1 + i)
        written[0] = float(i)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert reads[0] > 100


def test_a_redis_that_lost_its_memory_is_noticed(bare: DataPaths, trained: Shop, redis_server: RedisServer) -> None:
    url = own_database(redis_server)
    paths, client = replace(bare, redis=url), redis.Redis.from_url(url)
    apply(paths, trained.models)
    list(materialize(paths, trained.schedule.test))
    store = applied_store(paths)
    features = OnlineFeatures(store)
    items = Items(features, 1_000)
    prices(items, features, "i1")
    client.flushdb()
    assert items.find(Wanted.of(["i1"]), features.items_version()).unknown == ["i1"]
    push(store, {"i1": 9.5})
    assert prices(items, features, "i1") == [9.5]
