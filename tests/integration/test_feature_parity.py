"""Training and serving compute the same features, bit for bit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.parity import compare
from feature_repo import schema
from feature_repo.store import applied_store, materialize
from feature_repo.views import PAIR_COLUMNS
from tests.conftest import Shop


def test_training_rows_equal_what_is_served(dataset: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    result = compare(dataset.paths, triples=2_000, seed=3)
    assert result["triples"] == 2_000
    assert result["different_values"] == 0
    assert result["cutoffs"] > 3


def test_feasts_on_demand_view_equals_the_training_rows(dataset: Shop) -> None:
    cutoff = dataset.schedule.test
    list(materialize(dataset.paths, cutoff))
    store = applied_store(dataset.paths)
    shard = next((dataset.paths.dataset / "test").glob("*.parquet"))
    rows: list[dict[str, Any]] = pq.read_table(shard).to_pylist()[::97][:20]
    served = store.get_online_features(
        features=[
            *(f"user_item_features:{name}" for name in PAIR_COLUMNS),
            "item_features:item_price",
        ],
        entity_rows=[{"user_id": r["user_id"], "item_id": r["item_id"], "request_time": r["time"]} for r in rows],
    ).to_dict()
    for name in (*PAIR_COLUMNS, "item_price"):
        got = np.array([np.nan if v is None else v for v in served[name]], np.float32)
        np.testing.assert_array_equal(got, np.array([r[name] for r in rows], np.float32), err_msg=name)


def test_serving_reads_every_column_of_the_schema(dataset: Shop) -> None:
    shard = next((dataset.paths.dataset / "test").glob("*.parquet"))
    names = pq.read_schema(shard).names
    assert names[6:] == [*schema.NUMERIC, *schema.CATEGORICAL]
    assert isinstance(dataset.schedule.test, datetime)
