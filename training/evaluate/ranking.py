"""Recall@K and NDCG@K of a ranking of items for each user.

Protocol: features before the test cutoff; truth = the distinct items a user bought in the 7 days after; every
user with truth counts, also one who has no candidate. With gain 1 for a hit, NDCG@K is the sum over hits of
1 / log2(position + 1), over its largest value for that many true items (Järvelin & Kekäläinen 2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Text = npt.NDArray[np.str_]
Scores = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Slates:
    """Candidates of many users, a row a pair, rows of one user together: users and items as text (n,)."""

    users: Text
    items: Text

    def __post_init__(self) -> None:
        changes = np.flatnonzero(self.users[1:] != self.users[:-1]) + 1
        object.__setattr__(self, "_bounds", np.concatenate([[0], changes, [len(self.users)]]))

    def top(self, scores: Scores, k: int) -> dict[str, Text]:
        """The k items of highest score for each user, best first; equal scores keep their order."""
        bounds: npt.NDArray[np.intp] = self._bounds  # type: ignore[attr-defined]
        best = {}
        for start, stop in pairwise(bounds):
            order = np.argsort(-scores[start:stop], kind="stable")[:k]
            best[str(self.users[start])] = self.items[start:stop][order]
        return best


def ranking_metrics(
    top: Mapping[str, Text], truth: Mapping[str, frozenset[str]], ks: Sequence[int] = (10, 20)
) -> dict[str, float]:
    """`recall@k` and `ndcg@k`, means over the users of `truth`."""
    totals = {f"{name}@{k}": 0.0 for k in ks for name in ("recall", "ndcg")}
    for user, wanted in truth.items():
        hits = np.array([item in wanted for item in top.get(user, ())], float)
        for k in ks:
            gains = hits[:k] / np.log2(np.arange(len(hits[:k])) + 2)
            ideal = (1 / np.log2(np.arange(min(len(wanted), k)) + 2)).sum()
            totals[f"recall@{k}"] += hits[:k].sum() / len(wanted)
            totals[f"ndcg@{k}"] += gains.sum() / ideal
    return {name: total / len(truth) for name, total in totals.items()}
