"""What everybody buys, or everybody like this household."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from training.retrieval.generator import Users
from training.retrieval.log import F32, I32, PurchaseLog


@dataclass(frozen=True)
class Same:
    """The same scores for everybody, float32 (N,)."""

    scores: F32

    def score(self, users: Users) -> F32:
        """float32 (n, N)."""
        return np.repeat(self.scores[None], len(users), axis=0)


@dataclass(frozen=True)
class Popularity:
    """Items by their purchases of the last `days` days."""

    days: float = 28
    source: str = "popularity"

    def fit(self, log: PurchaseLog) -> Same:
        """Count."""
        return Same(log.popularity(self.days))


@dataclass(frozen=True)
class BySegment:
    """Scores of each segment (S, N), and the segment of each user (U,)."""

    scores: F32
    segment: I32

    def score(self, users: Users) -> F32:
        """float32 (n, N)."""
        found: F32 = self.scores[self.segment[users]]
        return found


@dataclass(frozen=True)
class SegmentPopularity:
    """Items by the buyers' purchases in the user's segment: households whose shares of subcategories are alike.

    Each purchase is halved every `half_life` days. segments: how many, found by k-means on square roots of shares
    (so that distance is Hellinger's).
    """

    segments: int = 24
    half_life: float = 28
    source: str = "segment"

    def fit(self, log: PurchaseLog) -> BySegment:
        """Find the segments and count in each."""
        users, items = log.catalogue.shape
        codes = log.catalogue.codes("subcategory")
        profile = np.zeros((users, int(codes.max()) + 1), np.float32)
        np.add.at(profile, (log.users, codes[log.items]), 1)
        profile = np.sqrt(profile / np.maximum(profile.sum(1, keepdims=True), 1))
        count = min(self.segments, max(1, len(np.unique(log.users))))
        segment = KMeans(count, n_init=1, random_state=0, max_iter=50).fit_predict(profile).astype(np.int32)
        scores = np.zeros((count, items), np.float32)
        np.add.at(scores, (segment[log.users], log.items), log.halved(self.half_life))
        return BySegment(scores, segment)
