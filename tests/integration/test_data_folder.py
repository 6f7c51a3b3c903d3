"""A data folder is what lies in it, whatever it is called and wherever it lies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo import schema
from feature_repo.paths import DataPaths
from feature_repo.snapshots import snapshot_path
from feature_repo.store import applied_store, apply, materialize
from shoprank.errors import FeatureStoreError, UserError
from tests.conftest import Shop
from tests.shop_log import UNTIL, line, write_log
from tests.world import END, START, events, write_world
from training.dataset.build import build
from training.dataset.labels import Purchases, epoch, truth
from training.dataset.point_in_time import catalogue_at, users_at
from training.evaluate.segments import segments_of
from training.features.snapshots import VIEWS, write_snapshots
from training.ingest import ingest
from training.ingest.known import write_known
from training.ingest.shoplog import ShopLog
from training.retrieval.log import read_log

CUTOFF = datetime(2024, 5, 6)
NAMES = ("data[1]", "data*", "data?", "year=2024", "event_type=view", "user_id=u1")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """The small shop with its snapshots in a folder whose name says nothing."""
    paths = write_world(tmp_path_factory.mktemp("plain") / "data", events())
    for _ in write_snapshots(paths, [CUTOFF], memory_limit="500MB"):
        pass
    return paths


@pytest.fixture
def plain(written: DataPaths, tmp_path: Path) -> DataPaths:
    """A copy of it, free to be changed."""
    shutil.copytree(written.root, tmp_path / "plain")
    return DataPaths(tmp_path / "plain")


@pytest.fixture(params=NAMES)
def named(request: pytest.FixtureRequest, written: DataPaths, tmp_path: Path) -> DataPaths:
    """The small shop's events in a folder whose name says something to readers of patterns and of partitions."""
    root = tmp_path / request.param / "data"
    shutil.copytree(written.root, root, ignore=shutil.ignore_patterns("features"))
    return DataPaths(root)


def test_events_are_read_from_a_folder_of_any_name(named: DataPaths, plain: DataPaths) -> None:
    assert truth(named, CUTOFF, timedelta(days=7)) == truth(plain, CUTOFF, timedelta(days=7)) != {}
    for paths in (named, plain):
        users = pq.ParquetFile(paths.users).read()
        pq.write_table(users.append_column("household_size", users["age"]), paths.users)
    assert segments_of(named, CUTOFF) == segments_of(plain, CUTOFF)
    assert np.array_equal(read_log(named).users, read_log(plain).users)
    bought, expected = (Purchases(paths, START, END).keys("u1", epoch(START), END - START) for paths in (named, plain))
    assert len(bought)
    assert np.array_equal(bought, expected)


def test_what_was_known_is_read_and_written_in_folders_of_any_name(named: DataPaths) -> None:
    known = replace(named, root=named.root.parent / "known")
    write_known(named, CUTOFF, known)
    expected = sorted(str(one["event_id"]) for one in events() if one["event_time"] < CUTOFF)
    assert sorted(pq.ParquetFile(known.events / "part-0.parquet").read()["event_id"].to_pylist()) == expected


def test_features_of_a_folder_of_any_name_are_those_of_its_events(named: DataPaths, plain: DataPaths) -> None:
    for _ in write_snapshots(named, [CUTOFF], memory_limit="500MB"):
        pass
    for view in VIEWS:
        tables = [pq.ParquetFile(snapshot_path(paths, view.name, CUTOFF)).read() for paths in (named, plain)]
        assert tables[0].equals(tables[1])


@pytest.mark.parametrize("name", NAMES)
def test_an_ingest_into_a_folder_of_any_name_keeps_its_events(tmp_path: Path, name: str) -> None:
    log = write_log(tmp_path / "events.csv", line(), line(user_id="502"), line(price="-1"))
    paths = DataPaths(tmp_path / name)
    assert ingest(ShopLog([str(log)]), paths, UNTIL).rows_kept == 2
    kept = [user for file in paths.events.iterdir() for user in pq.ParquetFile(file).read()["user_id"].to_pylist()]
    assert sorted(kept) == ["501", "502"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "user_id=u1"])
def test_features_are_joined_and_loaded_from_a_folder_of_any_name_but_a_features(
    written: DataPaths, tmp_path: Path, name: str
) -> None:
    named = DataPaths(tmp_path / name / "data")
    shutil.copytree(written.root, named.root)
    apply(named, tmp_path / "models")
    assert len(list(materialize(named, CUTOFF))) == len(VIEWS)
    store = applied_store(named)
    asked = {"entity_rows": [{"user_id": "u2"}], "features": ["user_features:user_orders"]}
    rows = pq.ParquetFile(snapshot_path(named, "user_features", CUTOFF)).read().to_pylist()
    (orders,) = (row["user_orders"] for row in rows if row["user_id"] == "u2")
    assert store.get_online_features(**asked).to_dict()["user_orders"] == [orders]
    (user,) = users_at(store, ["u2"], [CUTOFF])
    assert user.numbers[[f.name for f in schema.USER_NUMBERS].index("user_orders")] == orders
    assert len(catalogue_at(store, ["i1", "i2"], CUTOFF)) == 2


def test_a_copied_folder_reads_none_of_the_original_features(shop: Shop, tmp_path: Path) -> None:
    copy = DataPaths(tmp_path / "copy")
    # Not the online store: to open its files beside LMDB and close them ends LMDB's locks of this process.
    shutil.copytree(shop.paths.root, copy.root, ignore=shutil.ignore_patterns("online", "dataset"))
    refused = "is applied to .*; run `shoprank apply` first"
    with pytest.raises(FeatureStoreError, match=refused):
        list(materialize(copy, shop.schedule.test))
    with pytest.raises(FeatureStoreError, match=refused):
        list(build(copy, shop.schedule))
    applied_store(copy)  # to serve from a copy is no mistake: nothing but the online store is read
    apply(copy, tmp_path / "models")
    assert len(list(materialize(copy, shop.schedule.test))) == len(VIEWS)


@pytest.mark.parametrize("name", ["user_id=u1", "Event_Timestamp=2024-05-06", "item_purchases=1"])
def test_a_folder_that_feast_would_read_as_a_column_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}' would be read as the column"):
        apply(DataPaths(tmp_path / name / "data"), tmp_path / "models")
