"""Figures of cold start: means by household with their intervals, and differences to a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.evaluate.bootstrap import resample
from training.evaluate.slates import F64, accuracy, member
from training.retrieval.generator import Scorer, Users, pieces, top
from training.retrieval.log import I32, I64, Sparse

RESAMPLES = 2_000
SIZE = 20
METRICS = ("ndcg@10", "recall@20")


def slates_of(scorer: Scorer, users: Users, size: int = SIZE) -> I32:
    """The best items of the whole catalogue for each user, int32 (n, size)."""
    return np.concatenate([top(scorer.score(users[rows]), size) for rows in pieces(users)])


def judged(slates: I32, users: I64, truth: Sparse, metrics: Sequence[str] = METRICS) -> dict[str, F64]:
    """Metrics (n,) of each user's slate against what it bought: truth, users × items."""
    found = accuracy(member(users, slates, truth), np.diff(truth.indptr)[users])
    return {name: found[name] for name in metrics}


@dataclass
class Tally:
    """Metrics by contender, put together from cutoffs and parts. users: of each row; the same for every contender."""

    users: list[I64] = field(default_factory=list)
    values: dict[str, list[Mapping[str, F64]]] = field(default_factory=dict)

    def add(self, users: I64, values: Mapping[str, Mapping[str, F64]]) -> None:
        """Rows of some users, by contender."""
        self.users.append(users)
        for name, found in values.items():
            self.values.setdefault(name, []).append(found)

    def figures(self, resamples: int, baseline: str) -> dict[str, Any]:
        """As JSON: slates, households, and of each contender its means with intervals and what they are above the
        baseline's, by name of the metric. Without any rows there is nothing said of contenders."""
        users = np.concatenate([*self.users, np.zeros(0, np.int64)])
        if not len(users):
            return {"slates": 0, "households": 0, "baseline": baseline, "contenders": {}}
        households = resample(users, resamples, seed=0)
        metrics = self.values[baseline][0]
        whole = {
            name: {metric: np.concatenate([rows[metric] for rows in found]) for metric in metrics}
            for name, found in self.values.items()
        }
        return {
            "slates": len(users),
            "households": len(np.unique(users)),
            "baseline": baseline,
            "contenders": {
                name: {
                    metric: {
                        "mean": float(values.mean()),
                        "interval": list(households.interval(values)),
                        "difference": float((values - whole[baseline][metric]).mean()),
                        "difference_interval": list(households.interval(values - whole[baseline][metric])),
                    }
                    for metric, values in found.items()
                }
                for name, found in whole.items()
            },
        }
