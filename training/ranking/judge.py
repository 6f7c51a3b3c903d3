"""How much of what households bought in a week lists of candidates hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluate.bootstrap import F64, Resamples, resample
from training.evaluate.slates import Bools, member
from training.ranking.slate import Week
from training.retrieval.log import I32, Sparse


@dataclass(frozen=True)
class Judge:
    """Holds lists against what was bought. wanted: users × items, of each metric; drawn: resamples of the households
    that wanted something, of each metric.

    Metrics are recall: `whole`, of everything; `repeats`, of what the household had; `new`, of what it had not; and
    `new_of_unowned`, the same by a list without what it has.
    """

    week: Week
    wanted: Mapping[str, Sparse]
    drawn: Mapping[str, Resamples]

    @classmethod
    def of(cls, week: Week, resamples: int) -> Judge:
        """The judge of a week."""
        repeats = (week.truth - week.new).tocsr()
        repeats.eliminate_zeros()
        wanted = {"whole": week.truth, "repeats": repeats, "new": week.new}
        drawn = {name: resample(week.users[wanting(week, m)], resamples, 0) for name, m in wanted.items()}
        return cls(week, {**wanted, "new_of_unowned": week.new}, {**drawn, "new_of_unowned": drawn["new"]})

    def recalls(self, whole: I32, unowned: I32 | None = None) -> dict[str, F64]:
        """Recall of each household that wanted something, of each metric, by lists (n, k), −1 where there is less: of
        all items, and of those it has not; without these, of the other metrics alone."""
        found = {}
        for name, wanted in self.wanted.items():
            items = unowned if name == "new_of_unowned" else whole
            if items is None:
                continue
            some = wanting(self.week, wanted)
            hits = member(self.week.users, items, wanted).sum(1)
            found[name] = hits[some] / np.diff(wanted.indptr)[self.week.users][some]
        return found

    def described(self, found: Mapping[str, F64], base: Mapping[str, F64] | None = None) -> dict[str, Any]:
        """Means with their 95 % intervals, and with those of the difference to others."""
        described = {}
        for name, values in found.items():
            interval = self.drawn[name].interval
            described[name] = {"mean": float(values.mean()), "interval": list(interval(values))}
            if base is not None:
                gain = values - base[name]
                described[name] |= {"difference": float(gain.mean()), "difference_interval": list(interval(gain))}
        return described


def wanting(week: Week, wanted: Sparse) -> Bools:
    """Which of the week's users wanted something, (n,)."""
    some: Bools = np.diff(wanted.indptr)[week.users] > 0
    return some
