"""Rows of items in arrays of this process: those that requests asked for, read again once they are written again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo import schema
from feature_repo.pairs import AT, ENTRY, FACTS, facts_of
from feature_repo.transforms import I64, ItemRows
from server import wire
from server.features import OnlineFeatures, StoredItems

TRIES = 4
BYTES_AN_ENTRY = 32
"""Room for each item's entry; longer ones take from the room of shorter ones."""


@dataclass(slots=True)
class Shelf:
    """Rows of items in arrays with room for more. A row is never written over: readers may be at it.

    version: of the store's items as of which `index` is right. rows: as in the store. facts: int64 (capacity, FACTS),
    see `feature_repo.pairs`; an item's ENTRY says where its entry lies in `entries`, uint8, as bytes of a reply. index:
    int64 (2^k, 2), a hash and a position in each slot, open addressing. count: rows in use. used: bytes of `entries`.
    """

    version: int
    rows: ItemRows
    facts: I64
    index: I64
    entries: npt.NDArray[np.uint8]
    count: int = 0
    used: int = 0

    @classmethod
    def empty(cls, capacity: int, version: int) -> Shelf:
        """A shelf with room for so many rows; memory is used as it fills."""
        rows = ItemRows(
            numbers=np.empty((capacity, len(schema.ITEM_NUMBERS)), np.float32),
            times=np.empty((capacity, len(schema.ITEM_TIMES)), np.int64),
            keys=np.empty((capacity, len(schema.ITEM_KEYS)), np.int64),
        )
        slots = 1 << max(4, (2 * capacity).bit_length())
        return cls(
            version,
            rows,
            facts=np.empty((capacity, FACTS), np.int64),
            index=np.full((slots, 2), wire.NOWHERE, np.int64),
            entries=np.empty(capacity * BYTES_AN_ENTRY + wire.MAX_ID_BYTES, np.uint8),
        )

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return len(self.facts)

    def add(self, items: StoredItems) -> bool:
        """Put rows behind those there are, the index last, so who finds one finds all; False where there is no room."""
        texts = [wire.entry(item_id.encode()) for item_id in items.ids]
        joined = b"".join(texts)
        start, end = self.count, self.count + len(items)
        if end > self.capacity or self.used + len(joined) > len(self.entries):
            return False
        self.rows.numbers[start:end] = items.rows.numbers
        self.rows.times[start:end] = items.rows.times
        self.rows.keys[start:end] = items.rows.keys
        facts = facts_of(items.rows.numbers, items.rows.times, items.rows.keys, self.facts[start:end])
        facts[:, AT] = items.at
        facts[:, ENTRY] = wire.spans_of(texts) + (self.used << wire.OFFSET_BITS)
        self.entries[self.used : self.used + len(joined)] = np.frombuffer(joined, np.uint8)
        self.count, self.used = end, self.used + len(joined)
        wire.put_in(start, end, self.index, self.facts, self.entries)
        return True

    def forget(self, items: Wanted) -> None:
        """Find these items no more."""
        buffer = np.frombuffer(items.buffer, np.uint8)
        wire.take_out(buffer, items.spans, self.index, self.facts, self.entries)


@dataclass(slots=True)
class Wanted:
    """Items that a request asks for, by their ids: those at `spans` (n,) of a buffer.

    positions: int64 (n,), where they were found on a shelf when it was of `version`; None where nobody has looked.
    """

    buffer: bytes
    spans: I64
    shelf: Shelf | None = None
    version: int = -1
    positions: I64 | None = None

    @classmethod
    def of(cls, item_ids: Sequence[str]) -> Wanted:
        """Items of these ids."""
        texts = [item_id.encode() for item_id in item_ids]
        return cls(b"".join(texts), wire.spans_of(texts))

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def ids(self) -> list[str]:
        """The ids as text."""
        places = zip((self.spans >> wire.OFFSET_BITS).tolist(), (self.spans & wire.SIZE).tolist(), strict=True)
        return [self.buffer[start : start + size].decode() for start, size in places]

    def on(self, shelf: Shelf) -> I64:
        """Positions (n,) of the items on a shelf; NOWHERE for those that are not there."""
        positions = np.empty(len(self), np.int64)
        buffer = np.frombuffer(self.buffer, np.uint8)
        wire.look_up(buffer, self.spans, shelf.index, shelf.facts, shelf.entries, positions)
        return positions


@dataclass(slots=True)
class Found:
    """Items of a request: the rows at `positions` (n,), int64, of a shelf, in the order asked for; and ids unknown."""

    shelf: Shelf
    positions: I64
    unknown: list[str]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def at(self) -> I64:
        """When each known item's row was computed, (n,), seconds since 1970 UTC."""
        at: I64 = self.shelf.facts[self.positions, AT]
        return at

    @property
    def ids(self) -> list[str]:
        """The known items."""
        places = self.shelf.facts[self.positions, ENTRY]
        out = []
        for offset, size in zip((places >> wire.OFFSET_BITS).tolist(), (places & wire.SIZE).tolist(), strict=True):
            head = 2 if size < 130 else 3
            out.append(self.shelf.entries[offset + head : offset + size].tobytes().decode())
        return out

    def take(self, index: npt.NDArray[np.intp]) -> Found:
        """Those at `index`, in that order."""
        return Found(self.shelf, self.positions.take(index), [])


class Items:
    """Rows of items as they are in the store now: kept from request to request, and read anew what was written since.

    capacity: rows to keep; when there is no room for more, it starts over. Every method raises FeatureStoreError where
    the store does not answer.
    """

    def __init__(self, features: OnlineFeatures, capacity: int) -> None:
        self._features = features
        self._capacity = capacity
        self._lock = threading.Lock()
        self.shelf = Shelf.empty(capacity, features.items_version())

    def find(self, wanted: Wanted, version: int) -> Found:
        """The items' rows, no older than `version` of the store's items, which the caller has just learned."""
        shelf = self.shelf
        if wanted.positions is not None and wanted.shelf is shelf and wanted.version == version == shelf.version:
            return Found(shelf, wanted.positions, [])
        for _ in range(TRIES):
            shelf = self._at(version)
            positions = wanted.on(shelf)
            if not (missing := np.flatnonzero(positions < 0)).size:
                return Found(shelf, positions, [])
            ids = wanted.ids
            stored = self._features.items([ids[i] for i in missing.tolist()])
            if self._keep(shelf, version, stored):
                positions = wanted.on(shelf)
                if int((positions < 0).sum()) == len(stored.unknown):
                    return Found(shelf, positions[positions >= 0], stored.unknown)
            version = self._features.items_version()
        return self._apart(wanted.ids)  # items are written faster than they can be kept

    def _at(self, version: int) -> Shelf:
        """The shelf, without what was written up to `version`."""
        shelf = self.shelf
        if shelf.version == version:
            return shelf
        with self._lock:
            shelf = self.shelf
            if shelf.version < version:
                now, written = self._features.items_changed(shelf.version)
                if written is None:
                    shelf = self.shelf = Shelf.empty(self._capacity, now)
                else:
                    shelf.forget(Wanted.of(written))
                    shelf.version = now
            elif shelf.version > version and (now := self._features.items_version()) < shelf.version:
                # The store has lost what it had, or is another.
                shelf = self.shelf = Shelf.empty(self._capacity, now)
        return shelf

    def _keep(self, shelf: Shelf, version: int, stored: StoredItems) -> bool:
        """Put rows on the shelf that were read when it was of `version`, if it still is; whether that was so."""
        with self._lock:
            if self.shelf is not shelf or shelf.version != version:
                return False
            if not shelf.add(stored):
                self.shelf = Shelf.empty(self._capacity, version)
                return False
            return True

    def _apart(self, item_ids: Sequence[str]) -> Found:
        """The items' rows on a shelf of their own, for one request."""
        stored = self._features.items(item_ids)
        shelf = Shelf.empty(len(stored) * wire.MAX_ID_BYTES // BYTES_AN_ENTRY, 0)
        shelf.add(stored)
        return Found(shelf, np.arange(len(stored)), stored.unknown)
