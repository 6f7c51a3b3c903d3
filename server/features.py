"""Rows of features as the online store has them, read as they were written: with their age, however old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from feast import FeatureStore

from feature_repo import schema
from feature_repo.packed import Rows, packed_store
from feature_repo.transforms import F32, I64, Affinity, ItemRows, UserRow

USER_VIEWS = ("user_features", "user_history")
ITEM_VIEW = "item_features"

USER = tuple(tuple(f.name for f in block) for block in (schema.USER_NUMBERS, schema.USER_TIMES, schema.USER_KEYS))
ITEM = tuple(tuple(f.name for f in block) for block in (schema.ITEM_NUMBERS, schema.ITEM_TIMES, schema.ITEM_KEYS))
_INTEGERS = (schema.AFFINITY_KEYS, *schema.AFFINITY_TIMES)
LEVELS: tuple[tuple[tuple[str, str, type[np.generic]], ...], ...] = tuple(
    tuple(
        (f.name, schema.affinity_column(level, f), np.int64 if f in _INTEGERS else np.float32)
        for f in (*_INTEGERS, *schema.AFFINITY_NUMBERS)
    )
    for level in schema.LEVELS
)
"""Of each level of affinity: its arrays, the features they are kept as, and their types."""

HISTORY = tuple(
    tuple(column for level in LEVELS for _, column, dtype in level if dtype is kind) for kind in (np.int64, np.float32)
)
WHOLE_USER, WHOLE_ITEM = (*USER[1], *USER[2]), (*ITEM[1], *ITEM[2])
UNKNOWN = UserRow.unknown()
MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class StoredUser:
    """One user's row and when it was computed, seconds since 1970 UTC; None where the store has no such user."""

    row: UserRow
    at: int | None


@dataclass(frozen=True, slots=True)
class StoredItems:
    """Rows of those of the items asked for that the store has.

    ids: object (n,). rows: of n items. at: when each was computed, int64 (n,), seconds since 1970 UTC. unknown: ids
    that the store does not have.
    """

    ids: npt.NDArray[np.object_]
    rows: ItemRows
    at: I64
    unknown: list[str]

    def __len__(self) -> int:
        return len(self.ids)


class OnlineFeatures:
    """Feast's packed online store, read as arrays. What was written is in the next read.

    A row that was written before the schema had a feature is read as missing: it would be scored wrongly. Every method
    raises FeatureStoreError where the store does not answer.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._online = packed_store(store)
        self._config = store.config
        self._users = [store.get_feature_view(name) for name in USER_VIEWS]
        self._items = store.get_feature_view(ITEM_VIEW)
        self.ttl = int(self._items.ttl.total_seconds())

    def user(self, user_id: str) -> StoredUser:
        """The user's row."""
        return _user(*self._online.read(self._config, [(view, (user_id,)) for view in self._users]))

    def items(self, item_ids: Sequence[str]) -> StoredItems:
        """Rows of the items."""
        (rows,) = self._online.read(self._config, [(self._items, item_ids)])
        return _items(item_ids, rows)

    def both(self, user_id: str, item_ids: Sequence[str]) -> tuple[StoredUser, StoredItems]:
        """Rows of the user and of the items, in one read."""
        asked = [*((view, (user_id,)) for view in self._users), (self._items, item_ids)]
        features, history, items = self._online.read(self._config, asked)
        return _user(features, history), _items(item_ids, items)

    def items_version(self) -> int:
        """A number that grows with every write of items."""
        return self._online.version(self._config, self._items)


def _user(features: Rows, history: Rows) -> StoredUser:
    numbers, times, keys = USER
    affinities: tuple[Affinity, ...] | None = UNKNOWN.affinities
    at = int(features.event_time[0])
    if history.found[0]:
        affinities, at = _affinities(history), min(at, int(history.event_time[0]))
    if affinities is None or not (features.written_with(numbers)[0] and features.written_with(WHOLE_USER, np.int64)[0]):
        return StoredUser(UNKNOWN, None)
    row = UserRow(
        numbers=features.matrix(numbers)[0],
        times=features.matrix(times, np.int64)[0],
        keys=features.matrix(keys, np.int64)[0],
        affinities=affinities,
    )
    return StoredUser(row, at // MICROS)


def _affinities(history: Rows) -> tuple[Affinity, ...] | None:
    """The user's history at every level; None where the row was written without an array of it, or they do not fit."""
    integers, floats = HISTORY
    if not (history.written_with(integers, np.int64)[0] and history.written_with(floats, np.float32)[0]):
        return None
    levels = []
    for level in LEVELS:
        arrays: dict[str, I64 | F32] = {}
        for name, column, dtype in level:
            (array,) = history.arrays(column, dtype)
            arrays[name] = np.zeros(0, dtype) if array is None else array
        if len({len(array) for array in arrays.values()}) != 1:
            return None
        levels.append(Affinity(**arrays))  # type: ignore[arg-type]
    return tuple(levels)


def _items(item_ids: Sequence[str], rows: Rows) -> StoredItems:
    numbers, times, keys = ITEM
    whole = rows.written_with(numbers) & rows.written_with(WHOLE_ITEM, np.int64)
    stored = ItemRows(rows.matrix(numbers), rows.matrix(times, np.int64), rows.matrix(keys, np.int64))
    ids, at = np.array(item_ids, object), rows.event_time // MICROS
    if whole.all():
        return StoredItems(ids, stored, at, [])
    there = np.flatnonzero(whole)
    return StoredItems(ids[there], stored.take(there), at[there], ids[~whole].tolist())
