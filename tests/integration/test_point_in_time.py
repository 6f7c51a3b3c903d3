"""Feast's point-in-time join against a brute-force search of the snapshots."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo import schema
from feature_repo.snapshots import snapshot_path
from feature_repo.store import applied_store
from feature_repo.views import TTL
from shoprank.errors import UserError
from tests.conftest import Shop
from tests.world import ITEMS, USERS
from training.dataset.point_in_time import catalogue_at, users_at
from training.ranking.rows import features
from training.retrieval.blend import Candidates
from training.retrieval.log import read_log


def newest(shop: Shop, view: str, key: str, entity: str, at: datetime) -> dict[str, Any] | None:
    """The entity's row in the latest snapshot at or before `at`, unless it is older than the TTL."""
    for cutoff in sorted(shop.schedule.cutoffs, reverse=True):
        if cutoff <= at and at <= cutoff + TTL:
            for row in pq.read_table(snapshot_path(shop.paths, view, cutoff)).to_pylist():
                if row[key] == entity:
                    return dict(row)
    return None


def test_users_get_the_row_that_was_newest_then(shop: Shop) -> None:
    rng = np.random.default_rng(1)
    first, last = shop.schedule.cutoffs[0], shop.schedule.cutoffs[-1]
    times = [
        first + timedelta(seconds=int(s))
        for s in rng.integers(-86_400, int((last - first).total_seconds()) + 20 * 86_400, 40)
    ]
    ids = [f"u{u}" for u in rng.integers(0, USERS + 3, 40)]
    rows = users_at(applied_store(shop.paths), ids, times)
    assert {bool(r.as_of) for r in rows} == {True, False}
    for user_id, at, row in zip(ids, times, rows, strict=True):
        expected = newest(shop, "user_features", "user_id", user_id, at) or {}
        history = newest(shop, "user_history", "user_id", user_id, at) or {}
        numbers = [expected.get(f.name) for f in schema.USER_NUMBERS]
        np.testing.assert_array_equal(row.numbers, np.array([np.nan if v is None else v for v in numbers], np.float32))
        assert row.times.tolist() == [expected.get(f.name) or 0 for f in schema.USER_TIMES]
        assert row.history[0].keys.tolist() == history.get("user_item_keys", [])
        assert row.history[2].last_at.tolist() == history.get("user_subcategory_last_at", [])


def test_items_get_the_row_that_was_newest_then(shop: Shop) -> None:
    at = shop.schedule.cutoffs[2] + timedelta(days=3)
    ids = [f"i{i}" for i in range(ITEMS)]
    catalogue = catalogue_at(applied_store(shop.paths), [*ids, "nowhere"], at)
    assert sorted(catalogue.ids) == sorted(ids)
    assert (np.diff(catalogue.keys) > 0).all()
    for position in (0, 50, 149):
        expected = newest(shop, "item_features", "item_id", catalogue.ids[position], at)
        assert expected is not None
        want = [np.nan if expected[f.name] is None else expected[f.name] for f in schema.ITEM_NUMBERS]
        np.testing.assert_array_equal(catalogue.rows.numbers[position], np.array(want, np.float32))


def test_a_key_outside_the_catalogue_is_an_error(shop: Shop) -> None:
    catalogue = catalogue_at(applied_store(shop.paths), ["i1"], shop.schedule.test)
    with pytest.raises(KeyError):
        catalogue.positions(np.array([12345]))


def test_candidates_of_a_time_before_every_snapshot_are_refused(shop: Shop) -> None:
    early = shop.schedule.cutoffs[0] - timedelta(days=7)
    log = read_log(shop.paths)
    users, items = np.zeros(1, np.int64), np.zeros((1, 2), np.int32)
    candidates = Candidates(users, items, np.zeros((1, 2, 1), np.float32), np.zeros((1, 2, 1), np.int16), ("any",))
    with pytest.raises(UserError, match=f"no features of any item at {early:%Y-%m-%d}"):
        features(shop.paths, log, early, candidates)
