"""What the household itself bought most."""

from __future__ import annotations

from dataclasses import dataclass

from training.retrieval.generator import Users
from training.retrieval.log import F32, PurchaseLog, Sparse

TIE = 1e-6


@dataclass(frozen=True)
class Personal:
    """A row of scores for each user, and scores of all items that break ties and fill up."""

    scores: Sparse
    popularity: F32

    def score(self, users: Users) -> F32:
        """float32 (n, N)."""
        found: F32 = self.scores[users].toarray()
        found += TIE * self.popularity
        return found


@dataclass(frozen=True)
class PersonalFrequency:
    """Purchases of the user, each halved every `half_life` days; plain counts where it is None.

    Ties, and places beyond the user's history, go to what sold most in 28 days.
    """

    half_life: float | None = None
    source: str = "frequency"

    def fit(self, log: PurchaseLog) -> Personal:
        """Count."""
        weight = None if self.half_life is None else log.halved(self.half_life)
        popularity = log.popularity(28)
        return Personal(log.matrix(weight), popularity / max(float(popularity.max()), 1) * 100)
