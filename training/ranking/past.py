"""What users bought before each of their lists, for rankers that read it beside the columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from training.dataset.labels import epoch
from training.ranking.rows import Rows
from training.retrieval.histories import Histories, History
from training.retrieval.log import DAY, F32, I32, I64, PurchaseLog
from training.retrieval.products import Products
from training.shards import Block

LENGTH = 200
HALF_LIFE = 84.0
LEAST_SOLD = 20
"""Purchases from which on a product has an embedding of its own."""


@dataclass(frozen=True)
class Past:
    """Every user's purchases in order of time, and what products are described by."""

    histories: Histories
    products: Products

    @classmethod
    def of(cls, log: PurchaseLog, until: datetime) -> Past:
        """Of a log; products have an embedding of their own by their purchases before `until`."""
        return cls(Histories.of(log), Products.of(log.before(until), LEAST_SOLD))

    def at(self, rows: Rows) -> History:
        """The last purchases of each of the rows' users before their cutoff."""
        return self.histories.before(epoch(rows.cutoff) / DAY, rows.users, LENGTH, HALF_LIFE)


@dataclass(frozen=True, slots=True)
class PastBlock(Block):
    """A block of m lists of equal length, rows of a list together, with what their users bought.

    items: int32 (n,), positions in the catalogue. history: of the m users. past: where both are from.
    """

    items: I32
    history: History
    past: Past

    def of_lists(self, lists: I64 | slice) -> tuple[I32, I32, F32]:
        """Items (m, l), history and its weights (m, L) of some lists (m,)."""
        items = self.items.reshape(len(self.history), -1)
        return items[lists], self.history.items[lists], self.history.weights[lists]
