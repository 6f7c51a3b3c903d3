"""Recommenders that learn a linear model of who buys what: implicit ALS and EASE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from training.retrieval.generator import Users
from training.retrieval.log import F32, PurchaseLog, Sparse


@dataclass(frozen=True)
class Factors:
    """Vectors of users (U, d) and of items (N, d); a score is their product."""

    users: F32
    items: F32

    def score(self, users: Users) -> F32:
        """float32 (n, N)."""
        found: F32 = self.users[users] @ self.items.T
        return found


@dataclass(frozen=True)
class ImplicitAls:
    """Matrix factorization for implicit feedback by alternating least squares (Hu, Koren, Volinsky, 2008).

    A pair's confidence is 1 + `alpha` · log(1 + purchases), each purchase halved every `half_life` days.
    """

    factors: int = 64
    regularization: float = 0.05
    alpha: float = 5.0
    half_life: float = 112
    iterations: int = 8
    source: str = "als"

    def fit(self, log: PurchaseLog) -> Factors:
        """Alternate."""
        matrix = log.matrix(log.halved(self.half_life))
        matrix.data = (1 + self.alpha * np.log1p(matrix.data)).astype(np.float32)
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                iterations=self.iterations,
                random_state=0,
                num_threads=0,
            )
            model.fit(matrix, show_progress=False)
        return Factors(np.asarray(model.user_factors, np.float32), np.asarray(model.item_factors, np.float32))


@dataclass(frozen=True)
class ItemWeights:
    """Weights between items (m, m) at catalogue positions (m,), applied to the users' vectors (users × m)."""

    vectors: Sparse
    weights: F32
    positions: np.ndarray[tuple[int], np.dtype[np.intp]]
    items: int

    def score(self, users: Users) -> F32:
        """float32 (n, N), 0 for items that are none of the m."""
        found = np.zeros((len(users), self.items), np.float32)
        found[:, self.positions] = self.vectors[users] @ self.weights
        return found


@dataclass(frozen=True)
class Ease:
    """EASE (Steck, Embarrassingly Shallow Autoencoders for Sparse Data, 2019) over the `items` most bought items.

    The closed form inverts a matrix of items × items. The zero diagonal forbids an item to explain itself, so `repeat`
    is added on it: without it no item bought before would be proposed again for its own sake.
    """

    l2: float = 20.0
    items: int = 3_000
    half_life: float = 112
    repeat: float = 1.0
    source: str = "ease"

    def fit(self, log: PurchaseLog) -> ItemWeights:
        """Invert."""
        count = np.bincount(log.items, minlength=log.catalogue.shape[1])
        kept = np.sort(np.argsort(-count, kind="stable")[: min(self.items, int((count > 0).sum()))])
        matrix = log.matrix(log.halved(self.half_life))[:, kept]
        matrix.data = np.log1p(matrix.data)
        gram = (matrix.T @ matrix).toarray()
        gram[np.diag_indices(len(kept))] += self.l2
        inverse = np.linalg.inv(gram)
        weights = -inverse / np.diag(inverse)[None]
        np.fill_diagonal(weights, self.repeat)
        return ItemWeights(matrix, weights.astype(np.float32), kept, len(count))
