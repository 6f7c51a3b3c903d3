"""Rows of features as the online store has them, read as they were written: with their age, however old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from feast import FeatureStore

from feature_repo import schema
from feature_repo.packed.keys import keys_of
from feature_repo.packed.reader import Reader
from feature_repo.transforms import I64, ItemRows
from server.users import MICROS, StoredUser, Users
from shoprank.errors import StoreNotReady

NUMBERS, TIMES, KEYS = (
    tuple(f.name for f in block) for block in (schema.ITEM_NUMBERS, schema.ITEM_TIMES, schema.ITEM_KEYS)
)
NO_ITEMS = "the online store has no items; run `shoprank materialize` first"
VIEWS = ("user_features", "user_history", "item_features")


@dataclass(frozen=True, slots=True)
class StoredItems:
    """Rows of those of the items asked for that the store has.

    ids: n of them. rows: of n items. at: when each was computed, int64 (n,), seconds since 1970 UTC. unknown: ids that
    the store does not have.
    """

    ids: list[str]
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
        self._reader = Reader(store, VIEWS)
        self._features, self._history, self._items = self._reader.tables
        self._users = Users(self._reader, self._features, self._history)
        self.ttl = int(self._items.view.ttl.total_seconds())

    def user(self, user_id: str) -> StoredUser:
        """The user's row."""
        return self.users((user_id,))[0][0]

    def users(self, user_ids: Sequence[str]) -> tuple[list[StoredUser], int]:
        """The users' rows, and the version of the items, in one read."""
        asked = [(self._features, user_ids), (self._history, user_ids)]
        (features, history), version = self._reader.records_at(asked, self._items)
        return list(map(self._users.row, features, history)), version

    def items(self, item_ids: Sequence[str]) -> StoredItems:
        """Rows of the items."""
        rows = self._reader.read(self._items, item_ids)
        whole = rows.written_with(NUMBERS) & rows.written_with((*TIMES, *KEYS), np.int64)
        stored = ItemRows(rows.matrix(NUMBERS), rows.matrix(TIMES, np.int64), rows.matrix(KEYS, np.int64))
        ids, at = list(item_ids), rows.event_time // MICROS
        if whole.all():
            return StoredItems(ids, stored, at, [])
        there: npt.NDArray[np.intp] = np.flatnonzero(whole)
        unknown = [ids[i] for i in np.flatnonzero(~whole).tolist()]
        return StoredItems([ids[i] for i in there.tolist()], stored.take(there), at[there], unknown)

    def items_version(self) -> int:
        """A number that grows with every write of items."""
        return self._reader.version(self._items)

    def check(self) -> None:
        """Raise where the store has no items too: none were ever written, or it has lost what it had.

        A store that took the place of the one that is read is read from now on.
        """
        self._reader.check()
        if not self.items_version():
            raise StoreNotReady(NO_ITEMS)

    def versions(self) -> tuple[int, ...]:
        """Numbers of which one grows with every write of users or items."""
        return tuple(self._reader.version(table) for table in self._reader.tables)

    def items_changed(self, since: int) -> tuple[int, list[str] | None]:
        """The version of the items, and the ids written after version `since`; None where any may have been."""
        version, keys = self._reader.changed(self._items, since)
        if keys is None or any(key[:1] != STRING_KEY for key in keys):
            return version, None
        return version, [key[1:].decode() for key in keys]


(_empty,) = keys_of(("string_val",), ("",))
STRING_KEY = _empty[:1]
"""How the key of an item begins; a key that does not is a hash, of an id longer than a request may name."""
