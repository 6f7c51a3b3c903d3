"""What a server refuses to start on, and what it says then."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from feast.data_source import PushMode

from feature_repo.paths import DataPaths
from feature_repo.store import applied_store, apply, is_materialized, materialize
from server.app import Running, start
from server.model import load
from server.settings import Settings
from shoprank import Client, bundle
from shoprank.errors import BundleError, FeatureStoreError, UserError
from tests.conftest import Shop
from training.features.snapshots import snapshot_path


@pytest.fixture
def models(trained: Shop, tmp_path: Path) -> Path:
    """A copy of the model repository, free to be spoiled."""
    shutil.copytree(trained.models, tmp_path / "models", symlinks=True)
    return tmp_path / "models"


@pytest.fixture
def bare(trained: Shop, tmp_path: Path) -> DataPaths:
    """The shop's data without Feast's registry and online store."""
    root = tmp_path / "data"
    shutil.copytree(trained.paths.root, root, ignore=shutil.ignore_patterns("feast", "dataset", "events"))
    return replace(trained.paths, root=root)


def settings(data: Path, models: Path) -> Settings:
    return Settings(data=data, model_repository=models, port=0)


def test_a_flipped_byte_is_refused_with_the_file_and_its_hashes(trained: Shop, models: Path) -> None:
    file = bundle.current(models, "purchase") / bundle.MODEL
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx: SHA-256 is .* the file was altered"):
        start(settings(trained.paths.root, models))


def test_another_feature_schema_is_refused_naming_the_features(trained: Shop, models: Path) -> None:
    file = bundle.current(models, "purchase") / bundle.MANIFEST
    manifest = json.loads(file.read_text())
    manifest["numeric"][0] = "user_moon_phase"
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"the model alone has \['user_moon_phase'\].*\['user_orders'\]"):
        start(settings(trained.paths.root, models))


def test_the_same_features_in_another_order_are_refused(models: Path) -> None:
    directory = bundle.current(models, "purchase")
    manifest = json.loads((directory / bundle.MANIFEST).read_text())
    manifest["numeric"][:2] = manifest["numeric"][1::-1]
    (directory / bundle.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="the order differs"):
        load(directory)


def test_wrong_golden_answers_are_refused(models: Path) -> None:
    import numpy as np

    directory = bundle.current(models, "purchase")
    with np.load(directory / bundle.GOLDEN) as golden:
        answers = dict(golden)
    answers["probability"] = answers["probability"] + np.float32(0.01)
    np.savez(directory / bundle.GOLDEN, **answers)
    manifest = json.loads((directory / bundle.MANIFEST).read_text())
    manifest["files"][bundle.GOLDEN] = bundle.sha256(directory / bundle.GOLDEN)
    (directory / bundle.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="golden answers differ by 1"):
        load(directory)


def test_no_model_is_said_with_what_to_do(trained: Shop, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no active model; run `shoprank train`"):
        start(settings(trained.paths.root, tmp_path))


def test_a_repository_that_is_not_applied_is_said_with_what_to_do(bare: DataPaths, trained: Shop) -> None:
    with pytest.raises(FeatureStoreError, match=r"not applied; run `shoprank apply`"):
        start(settings(bare.root, trained.models))


def test_a_store_that_is_not_materialized_is_said_with_what_to_do(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    with pytest.raises(FeatureStoreError, match=r"no items; run `shoprank materialize`"):
        start(settings(bare.root, trained.models))


def test_a_taken_port_is_named(server: Running, trained: Shop) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(UserError, match=f"{port}: cannot listen there; is the port taken"):
        start(Settings(data=trained.paths.root, model_repository=trained.models, port=port))


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
    assert len(started.items.table) == 150
    started.stop()


def test_items_are_read_again_after_a_new_materialization(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    earlier, later = trained.schedule.cutoffs[-2:]
    list(materialize(bare, earlier))
    started = start(settings(bare.root, trained.models))
    before = int(started.items.table.at.max())
    assert not started.items.refresh()
    list(materialize(bare, later))
    assert started.items.refresh()
    assert int(started.items.table.at.max()) - before == (later - earlier).total_seconds()
    started.stop()


def test_a_registry_that_was_away_for_a_while_does_not_end_the_looking(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    earlier, later = trained.schedule.cutoffs[-2:]
    list(materialize(bare, earlier))
    started = start(settings(bare.root, trained.models).model_copy(update={"refresh_seconds": 0.05}))
    before = int(started.items.table.at.max())
    registry, away = bare.feast / "registry.db", bare.feast / "away.db"
    registry.rename(away)
    time.sleep(0.5)
    away.rename(registry)
    list(materialize(bare, later))
    deadline = time.monotonic() + 20
    while int(started.items.table.at.max()) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert int(started.items.table.at.max()) > before
    started.stop()


def test_a_snapshot_that_is_not_there_is_a_users_mistake(trained: Shop) -> None:
    from datetime import datetime

    with pytest.raises(UserError, match="no snapshot of 2001-01-01"):
        list(materialize(trained.paths, datetime(2001, 1, 1)))


def test_a_pushed_user_row_is_served_at_the_next_request(bare: DataPaths, trained: Shop) -> None:
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
    started.stop()
