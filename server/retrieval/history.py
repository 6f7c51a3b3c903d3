"""A user's history as retrieval sees it: positions in its catalogue, and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_repo.schema import HALF_LIFE_DAYS
from feature_repo.transforms import F32, I64, UserRow
from server.retrieval.keys import I32, KeyIndex
from server.retrieval.sources import Source

DAY = 86_400
ITEM, SUBCATEGORY = 0, 2
"""Levels of `feature_repo.schema.LEVELS`."""
LOOKED_AT = np.float32(0.25)
"""Weight of a view or a cart beside a purchase."""
MOST = 50
"""Items and subcategories of the history, those of the most weight, whose rows of a matrix are looked at."""


@dataclass(frozen=True, slots=True)
class History:
    """Items of a user's history that the catalogue has, h of them, int32 positions; the others are left out.

    purchases, recent, steady, interest: float32 (h,), as of `time`; first_at, last_at: int64 (h,). user: the row.
    """

    items: I32
    first_at: I64
    last_at: I64
    purchases: F32
    recent: F32
    steady: F32
    interest: F32
    user: UserRow
    time: int

    @classmethod
    def of(cls, user: UserRow, time: int, keys: KeyIndex) -> History:
        """The history of a user at a time. keys: those of the catalogue's items."""
        start, end = user.history.ends[ITEM : ITEM + 2].tolist()
        past = user.history
        items = keys.find(past.keys[start:end])
        days = max(0, time - user.as_of) / DAY if user.as_of else 0.0
        recent, steady, interest = (
            np.float32(0.5 ** (days / HALF_LIFE_DAYS[name])) for name in ("recent", "steady", "interest")
        )
        kept = slice(None) if not len(items) or items.min() >= 0 else items >= 0
        first_at, last_at = (array[start:end][kept] for array in (past.first_at, past.last_at))
        purchases = past.purchases[start:end][kept]
        return cls(
            items[kept],
            first_at,
            last_at,
            purchases,
            past.recent[start:end][kept] * recent,
            past.steady[start:end][kept] * steady,
            past.interest[start:end][kept] * interest,
            user,
            time,
        )

    def weights(self, source: Source) -> F32:
        """Weight of each item in a source, (h,)."""
        return _powered((self.recent if source.by == "recent" else self.steady), self.interest, source)

    def lately(self) -> F32:
        """Weight of each item halved every 14 days, (h,)."""
        found: F32 = self.recent + LOOKED_AT * self.interest
        return found

    def rows(self, source: Source) -> tuple[I32, F32]:
        """Rows of a source's matrix, those of the items of the most weight, and their weights."""
        return _heaviest(self.items, self.weights(source))

    def levels(self, source: Source, keys: KeyIndex) -> tuple[I32, F32]:
        """Rows of a source's matrix that are of the history's subcategories, and their weights."""
        start, end = self.user.history.ends[SUBCATEGORY : SUBCATEGORY + 2].tolist()
        past = self.user.history
        rows = keys.find(past.keys[start:end])
        by = past.recent if source.by == "recent" else past.steady
        weights = _powered(by[start:end], past.interest[start:end], source)
        return _heaviest(rows[rows >= 0], weights[rows >= 0])

    def segment(self, source: Source, keys: KeyIndex) -> int:
        """The segment whose centre is nearest to the square roots of the user's shares; -1 for a user of no
        purchases."""
        start, end = self.user.history.ends[SUBCATEGORY : SUBCATEGORY + 2].tolist()
        rows = keys.find(self.user.history.keys[start:end])
        purchases = self.user.history.purchases[start:end][rows >= 0]
        total = float(purchases.sum())
        if not total > 0:
            return -1
        centres = source.arrays["centres"]
        near = 2 * centres[:, rows[rows >= 0]] @ np.sqrt(purchases / np.float32(total))
        return int(np.argmax(near - source.arrays["squares"]))


def _heaviest(rows: I32, weights: F32) -> tuple[I32, F32]:
    if len(weights) <= MOST:
        return rows, weights
    heaviest = np.argpartition(weights, len(weights) - MOST)[len(weights) - MOST :]
    return rows[heaviest], weights[heaviest]


def _powered(bought: F32, looked_at: F32, source: Source) -> F32:
    total: F32 = bought + LOOKED_AT * looked_at
    if source.power == 1:
        return total
    weights: F32 = np.log1p(total) if source.power == 0 else total ** np.float32(source.power)
    return weights
