"""Repeat purchase: how likely is the household to buy again now what it bought before, and when will it?

The rate of buying again within a week depends on how often the item was bought, how long ago, and where in its own
rhythm that is (days since the last purchase over the mean gap). The rate of every combination is counted on the four
weeks before the cutoff, shrunk to the rate of its row, so no shape of the hazard is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from training.retrieval.generator import Users
from training.retrieval.log import F32, F64, PurchaseLog, Sparse

COUNTS = (1.5, 2.5, 3.5, 5.5, 8.5, 12.5, 20.5)
SINCE = (2, 4, 7, 11, 16, 24, 40, 70, 130)
RATIO = (0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5, 4)
STEADY = (0.1, 0.3, 0.6, 1, 1.5, 2.2, 3.5, 6)
SHRINK = 30.0
WEEKS = 4


@dataclass(frozen=True)
class Pairs:
    """Every user and item of a history once, (m,): count, days since the last purchase, mean gap (NaN for one), and
    the count with each purchase halved every 56 days."""

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    count: F64
    since: F64
    gap: F64
    steady: F64

    @property
    def cells(self) -> tuple[npt.NDArray[np.intp], ...]:
        """Which row and column of the table of rates each falls into."""
        ratio = np.where(np.isnan(self.gap), -1, self.since / np.maximum(self.gap, 0.5))
        rhythm = np.where(ratio < 0, 0, 1 + np.digitize(ratio, RATIO))
        return (
            np.digitize(self.count, COUNTS),
            np.digitize(self.since, SINCE),
            rhythm.astype(np.intp),
            np.digitize(self.steady, STEADY),
        )


def pairs_of(log: PurchaseLog) -> Pairs:
    """The pairs of a log."""
    items = log.catalogue.shape[1]
    key, place, count = np.unique(
        log.users.astype(np.int64) * items + log.items, return_inverse=True, return_counts=True
    )
    first, last = np.full(len(key), np.inf), np.full(len(key), -np.inf)
    np.minimum.at(first, place, log.at)
    np.maximum.at(last, place, log.at)
    gap = np.where(count > 1, (last - first) / np.maximum(count - 1, 1), np.nan)
    steady: F64 = np.bincount(place, log.halved(56), len(key)).astype(np.float64)
    return Pairs(key // items, key % items, count.astype(np.float64), log.now - last, gap, steady)


@dataclass(frozen=True)
class Repeats:
    """Probability of buying within a week (users × items, sparse), and days until the next purchase is due."""

    probability: Sparse
    due_days: Sparse

    def score(self, users: Users) -> F32:
        """float32 (n, N), 0 where the user never bought the item."""
        found: F32 = self.probability[users].toarray()
        return found


@dataclass(frozen=True)
class RepeatPurchase:
    """Rates of buying again counted on the last weeks; expected time to the next purchase from the mean gap."""

    source: str = "repeat"

    def fit(self, log: PurchaseLog) -> Repeats:
        """Count the rates on the weeks before the cutoff and look them up at it."""
        rate = self.rates(log)
        now = pairs_of(log)
        where = (now.users, now.items)
        due = np.where(np.isnan(now.gap), 0, now.gap - now.since)
        return Repeats(
            sp.csr_matrix((rate[now.cells].astype(np.float32), where), log.catalogue.shape),
            sp.csr_matrix((due.astype(np.float32), where), log.catalogue.shape),
        )

    def rates(self, log: PurchaseLog) -> F64:
        """The rate of each of `Pairs.cells`, (counts, days, rhythms, steady counts)."""
        shape = (len(COUNTS) + 1, len(SINCE) + 1, len(RATIO) + 2, len(STEADY) + 1)
        shown, bought = np.zeros(shape), np.zeros(shape)
        for week in range(1, WEEKS + 1):
            start = log.now - 7 * week
            past = log.take(log.at < start, start)
            if not len(past):
                break
            pairs = pairs_of(past)
            week_log = log.take((log.at >= start) & (log.at < start + 7))
            label = _held(week_log.owned(), pairs)
            active = np.isin(pairs.users, week_log.users)
            np.add.at(shown, tuple(c[active] for c in pairs.cells), 1)
            np.add.at(bought, tuple(c[active] for c in pairs.cells), label[active])
        return _shrunk(shown, bought)


def _held(matrix: Sparse, pairs: Pairs) -> npt.NDArray[Any]:
    return np.asarray(matrix[pairs.users, pairs.items]).ravel()


def _shrunk(shown: F64, bought: F64) -> F64:
    """Rates (a, b, c, d), each pulled to the product-free rates of coarser cells: over the last axis, then all."""
    overall = bought.sum() / max(shown.sum(), 1)
    coarse_shown, coarse_bought = shown.sum((0, 1, 2)), bought.sum((0, 1, 2))
    coarse = (coarse_bought + SHRINK * overall) / (coarse_shown + SHRINK)
    middle_shown, middle_bought = shown.sum((0, 1)), bought.sum((0, 1))
    middle = (middle_bought + SHRINK * coarse) / (middle_shown + SHRINK)
    rates: F64 = (bought + SHRINK * middle) / (shown + SHRINK)
    return rates
