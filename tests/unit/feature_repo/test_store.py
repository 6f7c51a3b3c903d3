"""The registry of a data folder, and what Feast's own tools read it by."""

from __future__ import annotations

from pathlib import Path

import pytest
from feast import FeatureStore

from feature_repo.paths import DataPaths
from feature_repo.store import FEAST_SETTINGS, MATERIALIZED, applied_store, apply, is_materialized
from shoprank.errors import StoreNotReady
from tests.world import END, event, write_world

URL = "redis://:secret@127.0.0.1:6379/0"


@pytest.fixture
def applied(tmp_path: Path) -> DataPaths:
    """A folder of one event, applied."""
    paths = write_world(tmp_path / "data", [event("u1", "i1", END)])
    apply(paths, tmp_path / "models")
    return paths


def test_feast_finds_the_registry_and_the_store_by_the_file_beside_them(applied: DataPaths) -> None:
    store = FeatureStore(fs_yaml_file=applied.feast / FEAST_SETTINGS)
    assert {view.name for view in store.list_feature_views()} == {"user_features", "user_history", "item_features"}
    assert store.config.online_store.path == str(applied.online.resolve())


def test_a_url_of_redis_is_read_from_the_environment_and_kept_in_no_file(
    applied: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(DataPaths(applied.root, URL), applied.root / "models")
    file = applied.feast / FEAST_SETTINGS
    assert "secret" not in file.read_text()
    monkeypatch.setenv("SHOPRANK_REDIS", URL)
    assert FeatureStore(fs_yaml_file=file).config.online_store.connection_string == URL


@pytest.mark.parametrize("content", [b"\xff" * 300, b"\x0a\x05abc"])
def test_a_damaged_registry_is_named_with_what_to_do(applied: DataPaths, content: bytes) -> None:
    registry = applied.feast / "registry.db"
    registry.write_bytes(content)
    for reading in (lambda: applied_store(applied), lambda: apply(applied, applied.root / "models")):
        with pytest.raises(StoreNotReady, match="is damaged; remove it, then run `shoprank apply`") as error:
            reading()
        assert str(registry) in str(error.value)
    registry.unlink()
    apply(applied, applied.root / "models")
    assert applied_store(applied)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1}'])
def test_a_damaged_mark_of_what_is_loaded_counts_as_none(applied: DataPaths, content: str) -> None:
    (applied.feast / MATERIALIZED).write_text(content)
    assert not is_materialized(applied, END)
