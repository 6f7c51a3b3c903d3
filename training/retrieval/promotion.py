"""Sales expected in the week to come, by the plan of promotions, and other generators weighted by them.

Sales of an item in a week are a rate of its own times the lift of the state it is in (plain, displayed, advertised, on
the front page). Rates and lifts are fitted in turn on the weeks before the cutoff, which is how a Poisson model with a
factor a row and a factor a state is fitted; the forecast is the rate times the lift of the coming week.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.retrieval.generator import Generator, Scorer, Users
from training.retrieval.log import F32, F64, PurchaseLog
from training.retrieval.plan import STATES
from training.retrieval.popularity import Same

WEEKS = 16
"""Weeks that rates and lifts are fitted on."""
HALF_LIFE = 56.0
"""Of a week's weight, in days."""
TURNS = 5
SHRINK = 2.0
"""Weeks of the mean rate that an item's own is pulled towards."""
LEAST = 0.01
"""Sales that every item is expected to have."""


def expected_sales(log: PurchaseLog) -> F64:
    """Sales of each item expected in the 7 days after the cutoff, (N,).

    Without a plan of promotions every week is a plain one.
    """
    items = log.catalogue.shape[1]
    starts = log.now - 7 * np.arange(1, WEEKS + 1)
    sold = np.stack([np.bincount(log.items[(log.at >= s) & (log.at < s + 7)], minlength=items) for s in starts])
    coming, *states = (
        log.plan.states(start, items) if log.plan else np.zeros(items, np.int32) for start in (log.now, *starts)
    )
    weight = 0.5 ** (7 * np.arange(WEEKS) / HALF_LIFE)[:, None]
    lift = np.ones(len(STATES))
    mean = float((sold * weight).sum() / weight.sum() / items)
    for _ in range(TURNS):
        rate = ((sold * weight).sum(0) + SHRINK * mean) / ((lift[states] * weight).sum(0) + SHRINK)
        expected = np.bincount(np.ravel(states), np.tile(rate, WEEKS), len(STATES))
        lift = np.bincount(np.ravel(states), sold.ravel(), len(STATES)) / np.maximum(expected, 1e-9)
        lift = np.where(expected > 0, lift / max(lift[0], 1e-9), 1.0)
    found: F64 = np.where(sold.any(0) | (coming > 0), rate * lift[coming], 0)
    return found


@dataclass(frozen=True)
class ExpectedSales:
    """Items by the sales expected in the week to come: popularity that knows the plan of promotions."""

    source: str = "expected"

    def fit(self, log: PurchaseLog) -> Same:
        """Forecast."""
        return Same(expected_sales(log).astype(np.float32))


@dataclass(frozen=True)
class Times:
    """A fitted generator's scores times one factor an item, float32 (N,)."""

    scorer: Scorer
    factor: F32

    def score(self, users: Users) -> F32:
        """float32 (n, N)."""
        found: F32 = self.scorer.score(users) * self.factor
        return found


@dataclass(frozen=True)
class Weighted:
    """Another generator's scores times the sales expected in the week to come to the power of `power`."""

    generator: Generator
    power: float = 0.4

    @property
    def source(self) -> str:
        """The other's."""
        return self.generator.source

    def fit(self, log: PurchaseLog) -> Times:
        """Fit the other, and forecast."""
        factor = (expected_sales(log) + LEAST) ** self.power
        return Times(self.generator.fit(log), factor.astype(np.float32))
