"""Rows of features as Feast's online store has them, read as they were written: with their age, however old."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.transforms import I64, ItemRows, UserRow, item_rows, user_row
from shoprank.errors import FeatureStoreError

USER_VIEWS = ("user_features", "user_history")
ITEM_VIEW = "item_features"
ITEMS_A_READ = 2_000


@dataclass(frozen=True, slots=True)
class StoredUser:
    """One user's row and when it was computed, seconds since 1970 UTC; None where the store has no such user."""

    row: UserRow
    at: int | None


@dataclass(frozen=True, slots=True)
class StoredItems:
    """Rows of n items the store has: their ids, and when each was computed, int64 (n,) seconds since 1970 UTC."""

    ids: tuple[str, ...]
    rows: ItemRows
    at: I64


class OnlineFeatures:
    """Feast's online store, read a row at a time instead of a value at a time."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self._views = {name: store.get_feature_view(name) for name in (*USER_VIEWS, ITEM_VIEW)}
        self.ttl = int(self._views[ITEM_VIEW].ttl.total_seconds())

    def user(self, user_id: str) -> StoredUser:
        """The user's row. Raises FeatureStoreError where the store does not answer."""
        values: dict[str, Any] = {}
        times: list[int] = []
        for view in USER_VIEWS:
            ((at, found),) = self._read(view, "user_id", [user_id])
            if found is not None:
                values.update(found)
                times.append(at)
        return StoredUser(user_row(values), min(times, default=None))

    def items(self, item_ids: Sequence[str]) -> Iterator[StoredItems]:
        """Rows of the items that the store has, some at a time. Raises FeatureStoreError where it does not answer."""
        for start in range(0, len(item_ids), ITEMS_A_READ):
            some = item_ids[start : start + ITEMS_A_READ]
            answers = self._read(ITEM_VIEW, "item_id", some)
            there = [(i, at, values) for i, (at, values) in zip(some, answers, strict=True) if values is not None]
            names = there[0][2].keys() if there else ()
            columns = {name: [values.get(name) for _, _, values in there] for name in names}
            yield StoredItems(
                ids=tuple(item_id for item_id, _, _ in there),
                rows=item_rows(columns, len(there)),
                at=np.array([at for _, at, _ in there], np.int64),
            )

    def materializations(self) -> int:
        """How often items were materialized; grows with each time. Reads the registry anew."""
        self.store.refresh_registry()
        return len(self.store.get_feature_view(ITEM_VIEW).materialization_intervals)

    def _read(self, view: str, key: str, ids: Sequence[str]) -> list[tuple[int, dict[str, Any] | None]]:
        keys = [EntityKey(join_keys=[key], entity_values=[Value(string_val=i)]) for i in ids]
        try:
            # Past the SDK's per-value answers, and past its TTL filter, which would hide a stale row and its age.
            answers = self.store._get_provider().online_read(self.store.config, self._views[view], keys)
        except Exception as error:  # each kind of store raises errors of its own
            raise FeatureStoreError(f"the online store does not answer for {view}: {error}") from error
        return [
            (0, None) if values is None else (calendar.timegm(at.utctimetuple()), plain(values))
            for at, values in answers
        ]


def plain(values: dict[str, Value]) -> dict[str, Any]:
    """Feast's typed values as Python numbers and lists; None for a null."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        kind = value.WhichOneof("val")
        if kind is None:
            out[name] = None
        else:
            content = getattr(value, kind)
            out[name] = content.val if kind.endswith("_list_val") else content
    return out
