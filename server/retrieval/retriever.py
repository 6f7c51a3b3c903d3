"""Retrieves candidates: every source's list for a user, fused by reciprocal rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.transforms import F32, UserRow
from server.items import Wanted
from server.retrieval.history import History
from server.retrieval.kernels import contributors, fuse, gather, rates_of
from server.retrieval.keys import I32, KeyIndex
from server.retrieval.sources import Source, Sources
from server.retrieval.traits import by_traits
from server.retrieval.vectors import Search
from server.scoring import best

OFFSET = 60.0
"""Of reciprocal rank fusion (Cormack, Clarke, Büttcher, Reciprocal Rank Fusion, 2009)."""
DEPTH = 500
"""How many of a source's list take part."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Candidates:
    """n candidates, best first, as positions in the retrieval's catalogue, int32 (n,).

    bits: uint32 (n,), a bit for each source that proposed it; first: int32 (n,), the source that ranks it highest.
    """

    items: I32
    bits: npt.NDArray[np.uint32]
    first: I32

    def __len__(self) -> int:
        return len(self.items)

    def take(self, index: npt.NDArray[np.intp]) -> Candidates:
        """Those at `index`, in that order."""
        return Candidates(self.items[index], self.bits[index], self.first[index])


class Retriever:
    """The sources of one bundle."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources.sources
        self.names = tuple(source.name for source in sources.sources)
        self.item_ids = sources.item_ids
        self.tokens = sources.tokens
        self.every = Wanted.of(sources.item_ids)
        self._keys = KeyIndex(sources.item_keys)
        self._levels = {s.name: KeyIndex(s.arrays["keys"]) for s in sources.sources if "keys" in s.arrays}
        self._searches = {s.name: Search(s) for s in sources.sources if "vectors" in s.arrays}
        self._sold = sources.sold
        self._everybody = next(i for i, s in enumerate(sources.sources) if s.form == "everybody")
        self._weights = np.array([source.weight for source in sources.sources], np.float32)
        self._slots: list[I32] = []  # one for each thread that has retrieved at once; see `server.towers.Towers`

    @classmethod
    def read(cls, path: Path) -> Retriever:
        """The retriever of a bundle's file. Raises BundleError."""
        return cls(Sources.read(path))

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def place_of(self) -> dict[str, int]:
        """Position of each item in the catalogue, by id."""
        return {item_id: place for place, item_id in enumerate(self.item_ids)}

    def history(self, user: UserRow, time: int) -> History:
        """What the store knows of a user at a time, as this retrieval sees it."""
        return History.of(user, time, self._keys)

    def wanted(self, items: I32) -> Wanted:
        """Items at positions of the catalogue, to be looked for on a shelf."""
        return Wanted(self.every.buffer, self.every.spans[items])

    def candidates(self, history: History, count: int, passing: Mask | None = None) -> Candidates:
        """The best `count` for a user, or as many as there are. passing: bool (N,), which items may be candidates.

        Where the sources propose fewer, what sold best fills up.
        """
        slots = self._borrowed()
        lists = [self._listed(source, history, slots, passing) for source in self.sources]
        ends = np.cumsum([len(one) for one in lists], dtype=np.int32)
        items, sums, bits, first = fuse(np.concatenate(lists), ends, self._weights, OFFSET, slots)
        self._slots.append(slots)
        chosen = best(sums, min(count, len(sums))) if len(sums) else np.zeros(0, np.intp)
        found = Candidates(items[chosen], bits[chosen], first[chosen])
        return found if len(found) == count else self._filled(found, count, passing)

    def neighbours(self, item: int, reasons: Sequence[str], count: int) -> tuple[Candidates, F32]:
        """Items like one item by the sources of the form `neighbours` for these reasons, 1 or more; and how alike,
        float32: the sum of OFFSET / (OFFSET + rank) over the number of sources, 0 to 1."""
        asked = [s.form == "neighbours" and s.reason in reasons for s in self.sources]
        rows = [
            source.matrix.row(item)[0] if use and source.matrix is not None else np.zeros(0, np.int32)
            for use, source in zip(asked, self.sources, strict=True)
        ]
        lists = [row[row != item] for row in rows]
        ends = np.cumsum([len(one) for one in lists], dtype=np.int32)
        slots = self._borrowed()
        items, sums, bits, first = fuse(np.concatenate(lists), ends, np.ones(len(lists), np.float32), OFFSET, slots)
        self._slots.append(slots)
        order = best(sums, min(count, len(sums))) if len(sums) else np.zeros(0, np.intp)
        score: F32 = sums[order] * np.float32(OFFSET / sum(asked))
        return Candidates(items, bits, first).take(order), score

    def because(self, source: Source, history: History, items: I32) -> I32:
        """The item of the history, as a position in the catalogue, that most of each item's score in a source of the
        form `neighbours`, `towers` or `factors` comes from; -1 where none does."""
        if search := self._searches.get(source.name):
            return search.because(history, items)
        assert source.matrix is not None
        rows, weights = history.rows(source)
        slots = self._borrowed()
        matrix = source.matrix
        found: I32 = contributors(matrix.indptr, matrix.indices, matrix.data, rows, weights, items, slots)
        self._slots.append(slots)
        if not len(rows):
            return found
        named: I32 = np.where(found >= 0, rows[found], np.int32(-1))
        return named

    def _borrowed(self) -> I32:
        try:
            return self._slots.pop()
        except IndexError:
            return np.zeros(len(self), np.int32)

    def _listed(self, source: Source, history: History, slots: I32, passing: Mask | None) -> I32:
        """A source's list for a user, best first."""
        if source.form == "everybody":
            items: I32 = source.arrays["items"]
            return items[:DEPTH] if passing is None else self._best_sold(passing, DEPTH)
        if source.form == "segments":
            nearest = history.segment(source, self._levels[source.name])
            members: I32 = source.arrays["items"][nearest] if nearest >= 0 else np.zeros(0, np.int32)
            return _kept(members, passing)
        if search := self._searches.get(source.name):
            return search.best(history, DEPTH, passing)
        items, scores = by_traits(source, history) if source.form == "traits" else self._scored(source, history, slots)
        if passing is not None:
            kept = passing[items]
            items, scores = items[kept], scores[kept]
        proposed = int((scores > 0).sum())
        ranked: I32 = items[best(scores, min(DEPTH, proposed))] if proposed else np.zeros(0, np.int32)
        return ranked

    def _scored(self, source: Source, history: History, slots: I32) -> tuple[I32, F32]:
        """Items that a source knows of for a user, in no order, and their scores."""
        if source.form == "rates":
            edges = tuple(source.arrays[name] for name in ("counts", "since", "ratio", "steady"))
            return history.items, rates_of(
                source.arrays["rates"], edges, history.first_at, history.last_at, history.purchases, history.steady,
                history.time,
            )  # fmt: skip
        if source.form == "history":
            return history.items, history.weights(source)
        assert source.matrix is not None
        if source.form == "levels":
            rows, weights = history.levels(source, self._levels[source.name])
        else:
            rows, weights = history.rows(source)
        items, scores = gather(source.matrix.indptr, source.matrix.indices, source.matrix.data, rows, weights, slots)
        return items, scores

    def _filled(self, found: Candidates, count: int, passing: Mask | None) -> Candidates:
        """The candidates, and what sold best behind them."""
        left = np.ones(len(self), np.bool_) if passing is None else passing.copy()
        left[found.items] = False
        more = self._best_sold(left, count - len(found))
        return Candidates(
            np.concatenate([found.items, more]),
            np.concatenate([found.bits, np.full(len(more), 1 << self._everybody, np.uint32)]),
            np.concatenate([found.first, np.full(len(more), self._everybody, np.int32)]),
        )

    def _best_sold(self, passing: Mask, count: int) -> I32:
        """Of the items that pass, the `count` that sold best."""
        window = 2 * count
        while True:
            found: I32 = self._sold[:window]
            found = found[passing[found]]
            if len(found) >= count or window >= len(self):
                return found[:count]
            window *= 4


def _kept(items: I32, passing: Mask | None) -> I32:
    """Items of a list that ends at the first -1, those that pass."""
    if len(items) and items[-1] < 0:
        items = items[items >= 0]
    return items if passing is None else items[passing[items]]
