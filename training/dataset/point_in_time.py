"""Feature rows as they were known at a time: Feast's point-in-time join, into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from feast import FeatureStore

from feature_repo import schema
from feature_repo.transforms import I64, ItemRows, UserRow, item_rows, user_row

USER_FEATURES = [
    *(f"user_features:{f.name}" for f in (*schema.USER_NUMBERS, *schema.USER_TIMES, *schema.USER_KEYS)),
    *(f"user_history:{name}" for name in schema.AFFINITY_COLUMNS),
]
ITEM_FEATURES = [f"item_features:{f.name}" for f in (*schema.ITEM_NUMBERS, *schema.ITEM_TIMES, *schema.ITEM_KEYS)]


@dataclass(frozen=True)
class Catalogue:
    """Item rows at one time, sorted by item key: ids (n,) object, keys int64 (n,), rows of n items."""

    ids: npt.NDArray[np.object_]
    keys: I64
    rows: ItemRows

    def __len__(self) -> int:
        return len(self.keys)

    def positions(self, keys: I64) -> npt.NDArray[np.intp]:
        """Row of each key, shape as `keys`. Every key must be in the catalogue."""
        at = np.searchsorted(self.keys, keys)
        if (at == len(self.keys)).any() or (self.keys[at] != keys).any():
            raise KeyError("item key not in the catalogue")
        return at

    def popular(self, count: int) -> npt.NDArray[np.intp]:
        """Rows of the `count` items bought most in the last 28 days, best first."""
        column = [f.name for f in schema.ITEM_NUMBERS].index("item_purchases_28d")
        return np.argsort(-self.rows.numbers[:, column], kind="stable")[:count]


def users_at(store: FeatureStore, user_ids: Sequence[str], times: Sequence[datetime]) -> list[UserRow]:
    """Each user's row as of its time (naive UTC), in the order given; the unknown row where there is none."""
    table = _join(store, "user_id", user_ids, times, USER_FEATURES)
    columns = {name: _as_arrays(table[name]) for name in table.column_names if name.startswith("user_")}
    return [user_row({name: values[i] for name, values in columns.items()}) for i in range(len(user_ids))]


def catalogue_at(store: FeatureStore, item_ids: Sequence[str], time: datetime) -> Catalogue:
    """Rows of the items as of `time` (naive UTC), those without a row left out."""
    table = _join(store, "item_id", item_ids, [time] * len(item_ids), ITEM_FEATURES)
    table = table.filter(pa.compute.is_valid(table["item_as_of"])).sort_by("item_key")
    features = (*schema.ITEM_NUMBERS, *schema.ITEM_TIMES, *schema.ITEM_KEYS)
    rows = item_rows({f.name: _as_numbers(table[f.name]) for f in features}, table.num_rows)
    return Catalogue(np.array(table["item_id"].to_pylist(), object), rows.keys[:, 0].copy(), rows)


def _join(
    store: FeatureStore, key: str, ids: Sequence[str], times: Sequence[datetime], features: list[str]
) -> pa.Table:
    """Feast's historical features of each (id, time), in the order given."""
    entities = pd.DataFrame(
        {key: list(ids), "event_timestamp": pd.to_datetime(list(times), utc=True), "row": np.arange(len(ids))}
    )
    return store.get_historical_features(entity_df=entities, features=features).to_arrow().sort_by("row")


def _as_numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Values of a number column; missing ones are NaN, or 0 where they are whole."""
    if pa.types.is_integer(column.type):
        column = column.fill_null(0)
    values: npt.NDArray[Any] = column.to_numpy()
    return values


def _as_arrays(column: pa.ChunkedArray) -> Sequence[Any]:
    """Python values of a scalar column; zero-copy slices of a list column."""
    if not pa.types.is_list(column.type):
        values: Sequence[Any] = column.to_pylist()
        return values
    lists = column.combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    flat = lists.values.to_numpy(zero_copy_only=False)
    offsets = lists.offsets.to_numpy()
    valid = lists.is_valid().to_numpy(zero_copy_only=False)
    return [flat[a:b] if ok else None for a, b, ok in zip(offsets[:-1], offsets[1:], valid, strict=True)]
