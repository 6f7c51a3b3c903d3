"""What every generator and every recommender is: fitted on a log, it scores all items for some users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from training.retrieval.log import F32, I32, PurchaseLog

Users = npt.NDArray[np.integer]
ROWS = 256


class Generator(Protocol):
    """A source of candidates.

    `fit` learns from the purchases of a log, all before its cutoff, and returns what answers. `score` gives float32
    (len(users), N), higher is better; an item of score 0 or less is not proposed.
    """

    @property
    def source(self) -> str:
        """The name that a candidate carries."""
        ...

    def fit(self, log: PurchaseLog) -> Scorer:
        """Learn from the log."""
        ...


class Scorer(Protocol):
    """A fitted generator."""

    def score(self, users: Users) -> F32:
        """Scores of all items for users at positions (n,): float32 (n, N)."""
        ...


def top(scores: F32, k: int) -> I32:
    """Positions of the k highest of each row, best first, int32 (n, k); equal scores in order of position.

    Which of those that equal the k-th are among them depends on the processor that selects.
    """
    k = min(k, scores.shape[1])
    # Selection is slow among many equal values, such as the zeros of a sparse row: a step too small to reorder others.
    apart = np.arange(scores.shape[1], dtype=np.float32) * np.float32(1e-15) - scores
    best = np.argpartition(apart, k - 1, axis=1)[:, :k]
    best.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1).astype(np.int32)


def pieces(users: Users, rows: int = ROWS) -> Iterator[slice]:
    """Slices over the users, `rows` at a time: a dense piece of all items stays below 100 MB."""
    for start in range(0, len(users), rows):
        yield slice(start, min(start + rows, len(users)))
