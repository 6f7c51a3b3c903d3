"""Rows of items in arrays of this process: those that requests asked for, read again once they are written again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feature_repo import schema
from feature_repo.transforms import I64, ItemRows
from server.features import OnlineFeatures, StoredItems

TRIES = 4


@dataclass(slots=True)
class Shelf:
    """Rows of items in arrays with room for more. A row is never written over: readers may be at it.

    version: of the store's items as of which `places` is right. places: of each item, its row. rows, at: see
    `StoredItems`; the first `count` rows are in use. entries: of each row, the item's entry of a reply's `item_ids`.
    """

    version: int
    rows: ItemRows
    at: I64
    places: dict[str, int] = field(default_factory=dict)
    entries: list[bytes] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, capacity: int, version: int) -> Shelf:
        """A shelf with room for so many rows; memory is used as it fills."""
        rows = ItemRows(
            numbers=np.empty((capacity, len(schema.ITEM_NUMBERS)), np.float32),
            times=np.empty((capacity, len(schema.ITEM_TIMES)), np.int64),
            keys=np.empty((capacity, len(schema.ITEM_KEYS)), np.int64),
        )
        return cls(version, rows, np.empty(capacity, np.int64))

    @property
    def count(self) -> int:
        """Rows in use."""
        return len(self.ids)

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return len(self.at)

    def add(self, items: StoredItems) -> None:
        """Put rows behind those there are. Places come last: who finds one finds its row."""
        start = self.count
        end = start + len(items)
        self.rows.numbers[start:end] = items.rows.numbers
        self.rows.times[start:end] = items.rows.times
        self.rows.keys[start:end] = items.rows.keys
        self.at[start:end] = items.at
        self.entries += map(entry, items.ids)
        self.ids += items.ids
        self.places.update(zip(items.ids, range(start, end), strict=True))


@dataclass(frozen=True, slots=True)
class Found:
    """Items of a request: the rows at `positions` (n,), int64, of a shelf, in the order asked for; and ids unknown."""

    shelf: Shelf
    positions: I64
    unknown: list[str]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def ids(self) -> list[str]:
        """The known items."""
        return [self.shelf.ids[i] for i in self.positions.tolist()]

    @property
    def at(self) -> I64:
        """When each known item's row was computed, (n,), seconds since 1970 UTC."""
        return self.shelf.at.take(self.positions)

    def take(self, index: npt.NDArray[np.intp]) -> Found:
        """Those at `index`, in that order."""
        return Found(self.shelf, self.positions.take(index), [])

    def entries(self) -> bytes:
        """The known items as the field `item_ids` of a reply."""
        entries = self.shelf.entries
        return b"".join([entries[i] for i in self.positions.tolist()])


class Items:
    """Rows of items as they are in the store now: kept from request to request, and read anew what was written since.

    capacity: rows to keep; when there is no room for more, it starts over. Every method raises FeatureStoreError where
    the store does not answer.
    """

    def __init__(self, features: OnlineFeatures, capacity: int) -> None:
        self._features = features
        self._capacity = capacity
        self._lock = threading.Lock()
        self._shelf = Shelf.empty(capacity, features.items_version())

    def find(self, item_ids: Sequence[str], version: int) -> Found:
        """The items' rows, no older than `version` of the store's items, which the caller has just learned."""
        for _ in range(TRIES):
            shelf = self._at(version)
            places = list(map(shelf.places.get, item_ids))
            if None not in places:
                return Found(shelf, np.array(places, np.int64), [])
            stored = self._features.items([i for i, place in zip(item_ids, places, strict=True) if place is None])
            if self._keep(shelf, version, stored):
                known = [place for i in item_ids if (place := shelf.places.get(i)) is not None]
                if len(known) + len(stored.unknown) == len(item_ids):
                    return Found(shelf, np.array(known, np.int64), stored.unknown)
            version = self._features.items_version()
        return self._apart(item_ids)  # items are written faster than they can be kept

    def _at(self, version: int) -> Shelf:
        """The shelf, without what was written up to `version`."""
        shelf = self._shelf
        if shelf.version == version:
            return shelf
        with self._lock:
            shelf = self._shelf
            if shelf.version < version:
                now, written = self._features.items_changed(shelf.version)
                if written is None:
                    shelf = self._shelf = Shelf.empty(self._capacity, now)
                else:
                    for item_id in written:
                        shelf.places.pop(item_id, None)
                    shelf.version = now
            elif shelf.version > version and self._features.items_version() < shelf.version:
                # The store has lost what it had, or is another.
                shelf = self._shelf = Shelf.empty(self._capacity, self._features.items_version())
        return shelf

    def _keep(self, shelf: Shelf, version: int, stored: StoredItems) -> bool:
        """Put rows on the shelf that were read when it was of `version`, if it still is; whether that was so."""
        with self._lock:
            if self._shelf is not shelf or shelf.version != version:
                return False
            if shelf.count + len(stored) > shelf.capacity:
                self._shelf = Shelf.empty(self._capacity, version)
                return False
            shelf.add(stored)
            return True

    def _apart(self, item_ids: Sequence[str]) -> Found:
        """The items' rows on a shelf of their own, for one request."""
        stored = self._features.items(item_ids)
        shelf = Shelf.empty(len(stored), 0)
        shelf.add(stored)
        return Found(shelf, np.arange(len(stored)), stored.unknown)


def entry(item_id: str) -> bytes:
    """The id as an entry of the field `item_ids`, number 1, of a reply."""
    text = item_id.encode()
    size = len(text)
    return b"\x0a" + (bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))) + text
