"""Blends what the generators propose: one list of distinct candidates a user, each with its scores and ranks.

Lists are fused by reciprocal rank (Cormack, Clarke, Büttcher, Reciprocal Rank Fusion, 2009) with a weight for each
source. A candidate keeps what every source says of it, so that a ranker can weigh them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.retrieval.generator import Generator, Scorer, Users, pieces, top
from training.retrieval.log import F32, I32, PurchaseLog

OFFSET = 60.0
ROWS = 128
"""Users at once: the dense scores of every source are held together."""


@dataclass(frozen=True)
class Candidates:
    """Candidates of n users at one cutoff, k each, best first.

    users: int (n,). items: int32 (n, k). scores: float32 (n, k, G), of every source. ranks: int16 (n, k, G), place in
    the source's own list from 0, `depth` where it is not in it. sources: names of the G sources.
    """

    users: Users
    items: I32
    scores: F32
    ranks: npt.NDArray[np.int16]
    sources: tuple[str, ...]

    @property
    def source(self) -> npt.NDArray[np.intp]:
        """The source that ranks each candidate highest, (n, k), as an index into `sources`."""
        best: npt.NDArray[np.intp] = self.ranks.argmin(axis=2)
        return best


@dataclass(frozen=True)
class Blend:
    """Fitted sources with their weights. depth: how many of each source's list take part."""

    sources: tuple[str, ...]
    scorers: tuple[Scorer, ...]
    weights: tuple[float, ...]
    depth: int = 500

    def candidates(self, users: Users, count: int) -> Candidates:
        """`count` candidates for each of users (n,)."""
        parts = [self._piece(users[rows], count) for rows in pieces(users, ROWS)]
        items, scores, ranks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Candidates(users, items, scores, ranks, self.sources)

    def _piece(self, users: Users, count: int) -> tuple[I32, F32, npt.NDArray[np.int16]]:
        rows = np.arange(len(users))[:, None]
        every = [scorer.score(users) for scorer in self.scorers]
        fused = np.zeros_like(every[0])
        lists: list[I32] = []
        for scores, weight in zip(every, self.weights, strict=True):
            best = top(scores, self.depth)
            proposed = np.take_along_axis(scores, best, 1) > 0
            gain = weight / (OFFSET + np.arange(best.shape[1], dtype=np.float32))
            fused[rows, best] += np.where(proposed, gain, 0)
            lists.append(np.where(proposed, best, -1).astype(np.int32))
        items = top(fused, count)
        shape = (*items.shape, len(self.sources))
        found, ranks = np.empty(shape, np.float32), np.empty(shape, np.int16)
        for g, (scores, listed) in enumerate(zip(every, lists, strict=True)):
            found[..., g] = np.take_along_axis(scores, items, 1)
            ranks[..., g] = _places(listed, items, fused.shape[1], self.depth)
        return items, found, ranks


def _places(listed: I32, items: I32, catalogue: int, depth: int) -> npt.NDArray[np.int16]:
    """Place of each of items (n, k) in the lists (n, depth) of the same rows; `depth` where it is in none."""
    place = np.full((len(listed), catalogue + 1), depth, np.int16)
    place[np.arange(len(listed))[:, None], listed] = np.arange(listed.shape[1], dtype=np.int16)
    place[:, -1] = depth  # where lists keep what is no item (−1)
    return np.take_along_axis(place, items, 1)


def fit_blend(
    log: PurchaseLog,
    generators: Sequence[Generator],
    weights: Sequence[float],
    stage: Callable[[str], None] = lambda name: None,
) -> Blend:
    """Fit every generator on the log; `stage` is told which."""
    scorers = []
    for generator in generators:
        stage(f"fitting {generator.source}")
        scorers.append(generator.fit(log))
    return Blend(tuple(g.source for g in generators), tuple(scorers), tuple(weights))
