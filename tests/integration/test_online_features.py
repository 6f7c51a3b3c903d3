"""What the server reads online: what was materialized and pushed, at once, from LMDB and Redis alike."""

from __future__ import annotations

import calendar
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from feast import FeatureView
from feast.data_source import PushMode
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.packed import packed_store
from feature_repo.paths import DataPaths
from feature_repo.snapshots import snapshot_path
from feature_repo.store import applied_store, apply, is_materialized, materialize
from server.app import Running, start
from server.features import OnlineFeatures
from shoprank import Client
from shoprank.errors import FeatureStoreError, UserError
from tests.conftest import Shop, settings
from tests.redis_server import RedisServer


def test_an_interrupted_materialization_is_not_taken_for_whole_and_can_be_run_again(
    bare: DataPaths, trained: Shop
) -> None:
    apply(bare, trained.models)
    cutoff = trained.schedule.serving
    running = materialize(bare, cutoff)
    next(running)
    running.close()
    assert not is_materialized(bare, cutoff)
    assert len(list(materialize(bare, cutoff))) == 3
    assert is_materialized(bare, cutoff)
    started = start(settings(bare.root, trained.models))
    assert started.items == 150
    started.stop()


def test_materialized_items_are_in_the_next_answer(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    earlier, later = trained.schedule.cutoffs[-2:]
    list(materialize(bare, earlier))
    started = start(settings(bare.root, trained.models, clock="snapshot"))
    with Client(started.address, timeout=10) as client:
        before = client.score("u1", ["i1"]).served_by
        list(materialize(bare, later))
        scores, ranking = client.score("u1", ["i1"]), client.rank("u1", top_k=3)
    assert scores.served_by.time - before.time == later - earlier
    assert scores.feature_status.items_age == timedelta(0)
    assert ranking.feature_status.items_age == timedelta(0)
    started.stop()


def test_an_earlier_snapshot_takes_the_place_of_a_later_one_only_when_asked(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    earlier, later = trained.schedule.cutoffs[-2:]
    list(materialize(bare, later))
    features = OnlineFeatures(applied_store(bare))
    assert all(loaded.kept for loaded in materialize(bare, earlier))
    assert features.user("u1").at == calendar.timegm(later.utctimetuple())
    list(materialize(bare, earlier, replace=True))
    assert features.user("u1").at == calendar.timegm(earlier.utctimetuple())


def test_a_row_written_before_the_schema_had_a_feature_is_read_as_missing(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    list(materialize(bare, trained.schedule.test))
    store = applied_store(bare)
    features = OnlineFeatures(store)
    for name, entity in (("item_features", "item_id"), ("user_history", "user_id")):
        view = store.get_feature_view(name)
        fields = [field for field in view.schema if field.name != view.features[-1].name]
        entities = [store.get_entity(view.entities[0])]
        older = FeatureView(name=name, entities=entities, schema=fields, source=view.batch_source)
        key = EntityKey(join_keys=[entity], entity_values=[Value(string_val="i2" if entity == "item_id" else "u2")])
        moment = datetime.now(UTC)
        packed_store(store).online_write_batch(store.config, older, [(key, {}, moment, None)], None)
    items = features.items(["i1", "i2", "nowhere"])
    assert features.user("u2").at is None
    assert items.ids == ["i1"]
    assert items.unknown == ["i2", "nowhere"]
    assert features.user("u1").at is not None


def test_redis_serves_what_lmdb_serves(
    bare: DataPaths, trained: Shop, redis_server: RedisServer, server: Running
) -> None:
    there = replace(bare, redis=redis_server.url)
    apply(there, trained.models)
    list(materialize(there, trained.schedule.test))
    assert not there.online.exists()
    started = start(settings(bare.root, trained.models, clock="snapshot", redis=redis_server.url))
    with Client(started.address, timeout=10) as remote, Client(server.address, timeout=10) as embedded:
        for ids in (["i1", "i2", "i3", "nowhere"], None):
            assert remote.rank("u1", ids, top_k=3) == embedded.rank("u1", ids, top_k=3)
    started.stop()


def test_a_snapshot_that_is_not_there_is_a_users_mistake(trained: Shop) -> None:
    from datetime import datetime

    with pytest.raises(UserError, match="no snapshot of 2001-01-01 00:00:00; there are 7, from 2024-05-13 00:00:00 to"):
        list(materialize(trained.paths, datetime(2001, 1, 1)))


def test_a_file_among_the_snapshots_that_is_none_is_named(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    (bare.features / "item_features" / "notes.parquet").write_text("mine")
    said = r"item_features/\*\.parquet: cannot be read: .*notes\.parquet.*; remove the file"
    with pytest.raises(FeatureStoreError, match=said):
        list(materialize(bare, trained.schedule.test))


def test_pushed_rows_are_served_at_the_next_request(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    cutoff = trained.schedule.test
    list(materialize(bare, cutoff))
    started = start(settings(bare.root, trained.models))
    later = cutoff + timedelta(days=3)
    with Client(started.address, timeout=10) as client:
        before = client.score("u1", ["i1", "i2"], time=later)
        assert before.feature_status.user_age == timedelta(days=3)
        row = pd.read_parquet(snapshot_path(bare, "user_features", cutoff)).query("user_id == 'u1'")
        row = row.assign(user_orders_7d=row.user_orders_7d + 5, event_timestamp=pd.Timestamp(later, tz="UTC"))
        history = pd.read_parquet(snapshot_path(bare, "user_history", cutoff)).query("user_id == 'u1'")
        history = history.assign(event_timestamp=pd.Timestamp(later, tz="UTC"))
        store = applied_store(bare)
        store.push("user_features_push", row, to=PushMode.ONLINE)
        store.push("user_history_push", history, to=PushMode.ONLINE)
        after = client.score("u1", ["i1", "i2"], time=later)
        assert after.feature_status.user_age == timedelta(0)
        assert after.items != before.items
        row = pd.read_parquet(snapshot_path(bare, "item_features", cutoff)).query("item_id == 'i1'")
        row = row.assign(item_price=row.item_price * 3, event_timestamp=pd.Timestamp(later, tz="UTC"))
        store.push("item_features_push", row, to=PushMode.ONLINE)
        assert client.score("u1", ["i1", "i2"], time=later).items[0] != after.items[0]
        assert client.rank("u1", ["i1"], time=later).feature_status.items_age == timedelta(0)
    started.stop()
