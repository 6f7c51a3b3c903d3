"""The blend as one generator, so that it can be tuned and measured as any other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.retrieval.blend import Blend, fit_blend
from training.retrieval.generator import Generator, Users
from training.retrieval.log import F32, PurchaseLog


@dataclass(frozen=True)
class Placed:
    """The first `count` candidates of a blend, scored by their place: 1, 1/2, 1/3, … and 0 beyond them."""

    blend: Blend
    items: int
    count: int

    def score(self, users: Users) -> F32:
        """float32 (n, N)."""
        candidates = self.blend.candidates(users, self.count).items
        scores = np.zeros((len(users), self.items), np.float32)
        places = 1 / np.arange(1, candidates.shape[1] + 1, dtype=np.float32)
        np.put_along_axis(scores, candidates, np.broadcast_to(places, candidates.shape), 1)
        return scores


@dataclass(frozen=True)
class Fused:
    """Generators with their weights, fused by reciprocal rank. name: what tells these weights from others."""

    name: str
    sources: tuple[tuple[Generator, float], ...]
    count: int = 1_000
    source: str = "blend"

    def fit(self, log: PurchaseLog) -> Placed:
        """Fit every generator."""
        blend = fit_blend(log, [g for g, _ in self.sources], [w for _, w in self.sources])
        return Placed(blend, log.catalogue.shape[1], self.count)
