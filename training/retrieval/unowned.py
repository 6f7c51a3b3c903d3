"""A generator that leaves out what the user has, for data in which nobody buys twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.retrieval.generator import Generator, Scorer, Users
from training.retrieval.log import F32, PurchaseLog, Sparse


@dataclass(frozen=True)
class OfOthers:
    """Scores of a fitted generator, −∞ where the user owns the item (users × items)."""

    scorer: Scorer
    owned: Sparse

    def score(self, users: Users) -> F32:
        """float32 (n, N)."""
        scores = self.scorer.score(users).copy()
        scores[self.owned[users].nonzero()] = -np.inf
        return scores


@dataclass(frozen=True)
class Unowned:
    """Another generator without the items that the user ever bought."""

    generator: Generator

    @property
    def source(self) -> str:
        """The other's."""
        return self.generator.source

    def fit(self, log: PurchaseLog) -> OfOthers:
        """Fit the other."""
        return OfOthers(self.generator.fit(log), log.owned())
