"""Recommenders by neighbours: similar households (TIFU-KNN, UP-CF), similar items (item-KNN, association)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from training.retrieval.generator import Users
from training.retrieval.log import F32, I32, PurchaseLog, Sparse


@dataclass(frozen=True)
class Mixed:
    """Scores of users as a sparse product: weights (users × m) by values (m × items), plus an own sparse part."""

    weights: Sparse
    values: Sparse
    own: Sparse

    def score(self, users: Users) -> F32:
        """float32 (n, N)."""
        found: F32 = (self.weights[users] @ self.values + self.own[users]).toarray()
        return found


@dataclass(frozen=True)
class TifuKnn:
    """TIFU-KNN (Hu et al., Modeling Personalized Item Frequency Information for Next-basket Recommendation, 2020).

    A user's vector is the mean of its baskets, decayed by `within` inside groups of `group` baskets and by `between`
    from group to group; the score mixes it with the mean of the `neighbours` nearest users' vectors, own share `own`.
    """

    neighbours: int = 300
    within: float = 0.9
    between: float = 0.7
    group: int = 7
    own: float = 0.7
    source: str = "tifu-knn"

    def fit(self, log: PurchaseLog) -> Mixed:
        """Vectors and neighbours of every user."""
        from_last, baskets = basket_ages(log)
        groups = -(-baskets // self.group)
        nth = from_last // self.group
        inside = from_last % self.group
        size = np.minimum(self.group, baskets - nth * self.group)
        weight = self.within**inside / size * self.between**nth / groups
        vectors = log.matrix(weight)
        near = nearest(vectors, self.neighbours)
        return Mixed(near * (1 - self.own), vectors, vectors * self.own)


@dataclass(frozen=True)
class UpCf:
    """UP-CF (Faggioli, Polato, Aiolli, Recency Aware Collaborative Filtering for Next Basket Recommendation, 2020).

    A user's item popularity is its share of the last `window` baskets; scores are sums over all users weighted by
    asymmetric cosine similarity (`alpha`) to the power of `locality`.
    """

    window: int = 25
    locality: int = 10
    alpha: float = 0.5
    source: str = "up-cf"

    def fit(self, log: PurchaseLog) -> Mixed:
        """Popularity of each user's items, and similarities."""
        from_last, baskets = basket_ages(log)
        recent = from_last < self.window
        popularity = log.take(recent).matrix(1 / np.minimum(self.window, baskets[recent]))
        owned = log.owned()
        size = np.maximum(np.asarray(owned.sum(1)).ravel(), 1)
        common = (owned @ owned.T).toarray()
        similarity = common / (size[:, None] ** self.alpha * size[None] ** (1 - self.alpha))
        weights = sp.csr_matrix(similarity.astype(np.float32) ** self.locality)
        return Mixed(weights, popularity, sp.csr_matrix(popularity.shape, dtype=np.float32))


@dataclass(frozen=True)
class ItemKnn:
    """Cosine of items over their buyers, `neighbours` nearest each, shrunk; the user's items weigh by recency.

    half_life: of a purchase's weight, days. own: weight of the item itself beside its neighbours, added to its cosine
    with itself, so that repeats are proposed too.
    """

    neighbours: int = 100
    shrink: float = 10
    half_life: float = 56
    own: float = 0.0
    source: str = "item-knn"

    def fit(self, log: PurchaseLog) -> Mixed:
        """Similarities of items."""
        weights = log.matrix(log.halved(self.half_life))
        return Mixed(weights, self.similar(log), weights * self.own)

    def similar(self, log: PurchaseLog) -> Sparse:
        """Similarities, items × items."""
        owned = log.owned()
        return _similar(owned, np.asarray(owned.sum(0)).ravel(), 10, self.neighbours, self.shrink)


@dataclass(frozen=True)
class Association:
    """Items bought together: cosine over baskets of the last `days` days, from what the user bought most recently."""

    days: float = 180
    half_life: float = 14
    neighbours: int = 100
    source: str = "association"

    def fit(self, log: PurchaseLog) -> Mixed:
        """Count pairs in baskets."""
        weights = log.matrix(log.halved(self.half_life))
        return Mixed(weights, self.similar(log), sp.csr_matrix(weights.shape, dtype=np.float32))

    def similar(self, log: PurchaseLog) -> Sparse:
        """Similarities, items × items."""
        past = log.recent(self.days)
        names, rows = np.unique(past.baskets, return_inverse=True)
        shape = (len(names), log.catalogue.shape[1])
        baskets = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, past.items)), shape)
        baskets.data[:] = 1
        return _similar(baskets, np.asarray(baskets.sum(0)).ravel(), 15, self.neighbours, 20)


def _similar(events: Sparse, count: F32, least: int, neighbours: int, shrink: float) -> Sparse:
    """Cosines, items × items, of the columns of `events` (rows × items) that occur at least `least` times."""
    kept, items = np.flatnonzero(count >= least), len(count)
    if not len(kept):
        return sp.csr_matrix((items, items), dtype=np.float32)
    narrow = events[:, kept]
    rows = []
    norm = np.sqrt(count[kept])
    transposed = narrow.T.tocsr()
    for start in range(0, len(kept), 1024):
        common = (transposed[start : start + 1024] @ narrow).toarray()
        common /= norm[start : start + 1024, None] * norm[None] + shrink
        rows.append(strongest(common, neighbours))
    near = sp.vstack(rows).tocoo()
    return sp.csr_matrix((near.data, (kept[near.row], kept[near.col])), (items, items))


def basket_ages(log: PurchaseLog) -> tuple[I32, I32]:
    """For each purchase how many baskets of its user came after it, and how many baskets the user has, (n,) each."""
    last = np.full(int(log.baskets.max()) + 1, -np.inf)
    np.maximum.at(last, log.baskets, log.at)
    ids, first = np.unique(log.baskets, return_index=True)
    owner = log.users[first]
    order = np.lexsort((-last[ids], owner))
    sizes = np.bincount(owner, minlength=log.catalogue.shape[0])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    nth = np.empty(len(ids), np.int64)
    nth[order] = np.arange(len(ids)) - starts[owner[order]]
    place = np.searchsorted(ids, log.baskets)
    return nth[place].astype(np.int32), sizes[log.users].astype(np.int32)


def nearest(vectors: Sparse, k: int) -> Sparse:
    """Users × users: 1/k at the k nearest others of each, by Euclidean distance."""
    products = (vectors @ vectors.T).toarray()
    square = products.diagonal().copy()
    closeness = 2 * products - square[None]
    closeness[:, square == 0] = -np.inf
    np.fill_diagonal(closeness, -np.inf)
    k = min(k, len(square) - 1)
    best = np.argpartition(-closeness, k - 1, axis=1)[:, :k]
    rows = np.repeat(np.arange(len(square)), k)
    return sp.csr_matrix((np.full(len(rows), 1 / k, np.float32), (rows, best.ravel())), closeness.shape)


def strongest(values: F32, k: int) -> Sparse:
    """The k largest of each row of a dense (n, m), as CSR."""
    k = min(k, values.shape[1])
    best = np.argpartition(-values, k - 1, axis=1)[:, :k]
    rows = np.repeat(np.arange(len(values)), k)
    kept = np.take_along_axis(values, best, 1).ravel()
    return sp.csr_matrix((kept.astype(np.float32), (rows, best.ravel())), values.shape)
