"""A learned retriever: two towers, one of items and one of users by their history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import keras
import numpy as np

from training.retrieval.generator import Generator, Users, pieces, top
from training.retrieval.histories import Histories, History
from training.retrieval.log import F32, I32, PurchaseLog, Sparse
from training.retrieval.products import Products, sales
from training.retrieval.search import Index, index_of
from training.retrieval.tower_training import DAYS, Fit, Sampler, train
from training.retrieval.towers import Encoder, Towers, build_towers

LISTED = 200
"""Items of another generator's list that hard negatives are drawn from."""


@dataclass(frozen=True)
class FittedTowers:
    """Towers with the vectors of all items as of the log's cutoff, `now`.

    owned: users × items that are not proposed, none where there is nothing of the kind. epochs: loss and recall of the
    last week, of each.
    """

    towers: Towers
    vectors: F32
    histories: Histories
    now: float
    length: int
    half_life: float
    epochs: tuple[dict[str, float], ...]
    owned: Sparse | None = None

    def history(self, users: Users) -> History:
        """What users at positions (n,) bought before the cutoff."""
        return self.histories.before(self.now, users, self.length, self.half_life)

    def score(self, users: Users) -> F32:
        """float32 (n, N): how many times as likely as if all items were equally so. A user of whom nothing is known
        gets what a user without a history does."""
        scores = self.score_history(self.history(users))
        if self.owned is not None:
            known = np.flatnonzero(users < self.owned.shape[0])
            rows, items = self.owned[users[known]].nonzero()
            scores[known[rows], items] = 0
        return scores

    def nearest(self, users: Users, k: int) -> tuple[I32, F32]:
        """The k best items of users (n,), best first, with the vectors' products, each (n, k): searched, not scored, so
        that a catalogue beyond 100,000 items is not gone through. What the user has is among them."""
        return self.index.search(self.towers.user_vectors(self.history(users)), k)

    @cached_property
    def index(self) -> Index:
        """The index of all items, built when it is first asked."""
        return index_of(self.vectors)

    def score_history(self, history: History) -> F32:
        """As `score`, of given histories."""
        logits = self.towers.user_vectors(history) @ self.vectors.T
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits *= logits.shape[1] / logits.sum(axis=1, keepdims=True)
        found: F32 = logits
        return found


@dataclass(frozen=True)
class TwoTower:
    """Items whose vector's product with the user's is large (Yi et al., 2019; see `tower_training`).

    Where training aims at new products, what the user has is not proposed.

    history: how the user tower reads the purchases: `pooled`, means by recency; `gru` or `cnn`, in order of time.
    length: how many of the last purchases. half_life: of their weight, days. width: of a vector. min_count: purchases
    of an item from which it has an embedding of its own; others are known by their fields and words alone. hard: what
    lists hard negatives, fitted on the purchases before the weeks learned from. progress: is told what is done, how
    many steps of how many.
    """

    history: Encoder = "pooled"
    length: int = 256
    half_life: float = 84.0
    width: int = 64
    min_count: int = 5
    temperature: float = 0.1
    hard: Generator | None = None
    training: Fit = field(default_factory=Fit)
    seed: int = 0
    source: str = "two-tower"
    progress: Callable[[str, int, int], None] = field(default=lambda *step: None, repr=False, compare=False)

    def fit(self, log: PurchaseLog) -> FittedTowers:
        """Train on the weeks before the cutoff, stopped by the last of them."""
        keras.utils.set_random_seed(self.seed)
        products, histories = Products.of(log, self.min_count), Histories.of(log)
        towers = build_towers(products, self.history, self.width, self.length, self.temperature)
        lists = self._lists(log)
        listed = None if lists is None else np.bincount(lists.ravel(), minlength=log.catalogue.shape[1]) / lists.size
        sampler = Sampler(histories, self.length, self.half_life, self.training, lists, listed)
        epochs = train(towers, log, sampler, self.seed, self.progress)
        vectors = towers.item_vectors(sales(log, log.now))
        owned = log.owned() if self.training.aim == "new" else None
        return FittedTowers(towers, vectors, histories, log.now, self.length, self.half_life, tuple(epochs), owned)

    def _lists(self, log: PurchaseLog) -> I32 | None:
        if self.hard is None:
            return None
        start = log.now - DAYS * (self.training.weeks + 1)
        scorer = self.hard.fit(log.take(log.at < start, start))
        users = np.arange(log.catalogue.shape[0])
        return np.concatenate([top(scorer.score(users[rows]), LISTED) for rows in pieces(users)])
