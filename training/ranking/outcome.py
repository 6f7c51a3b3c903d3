"""From slates to the figures of the report: means, intervals by household, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluate.bootstrap import Resamples, resample
from training.evaluate.slates import F64, beyond_accuracy, member
from training.ranking.slate import Slates, Week, measured

METRICS = ("ndcg@10", "recall@10", "ndcg@20", "recall@20", "mrr@10", "hit_rate@10")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Outcome:
    """One contender's metrics, a row a household and week: whole (n,) and explore (m,), by name of the metric; and what
    its slates are made of, the mean of the weeks. by_week: mean NDCG@10 and Recall@20 of each cutoff."""

    whole: Mapping[str, F64]
    explore: Mapping[str, F64]
    beyond: Mapping[str, float]
    by_week: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Households:
    """The resamples of the rows of whole slates and of explore slates."""

    whole: Resamples
    explore: Resamples

    @classmethod
    def of(cls, weeks: Sequence[Week], resamples: int = RESAMPLES, seed: int = 0) -> Households:
        """Draw the households of all weeks."""
        new = [week.users[np.diff(week.new.indptr)[week.users] > 0] for week in weeks]
        users = np.concatenate([week.users for week in weeks])
        return cls(resample(users, resamples, seed), resample(np.concatenate(new), resamples, seed))


def outcome(slates: Sequence[Slates], weeks: Sequence[Week]) -> Outcome:
    """The outcome of a contender's slates, one for each week."""
    found = [measured(s, week) for s, week in zip(slates, weeks, strict=True)]
    beyond = [_beyond(s, week) for s, week in zip(slates, weeks, strict=True)]
    return Outcome(
        whole={m: np.concatenate([w[m] for w, _ in found]) for m in METRICS},
        explore={m: np.concatenate([e[m] for _, e in found]) for m in METRICS},
        beyond={name: float(np.mean([b[name] for b in beyond])) for name in beyond[0]},
        by_week={
            f"{week.cutoff:%Y-%m-%d}": {
                "ndcg@10": float(w["ndcg@10"].mean()),
                "recall@20": float(w["recall@20"].mean()),
                "explore_recall@20": float(e["recall@20"].mean()),
            }
            for week, (w, e) in zip(weeks, found, strict=True)
        },
        seconds={
            "fit": float(np.mean([s.fit_seconds for s in slates])),
            "score_a_household_ms": float(
                1000 * np.mean([s.score_seconds / len(w.users) for s, w in zip(slates, weeks, strict=True)])
            ),
        },
    )


def _beyond(slates: Slates, week: Week) -> dict[str, float]:
    popularity = week.log.popularity(28)
    items = week.shown(slates)
    repeats = member(week.users, items, week.owned)
    category = week.log.catalogue.codes("category")
    return beyond_accuracy(items, repeats, popularity, category, int((popularity > 0).sum()))


def described(found: Outcome, households: Households) -> dict[str, Any]:
    """The outcome as JSON: each mean with its 95 % interval."""

    def with_interval(values: F64, resamples: Resamples) -> dict[str, Any]:
        return {"mean": float(values.mean()), "interval": list(resamples.interval(values))}

    return {
        "whole": {m: with_interval(found.whole[m], households.whole) for m in METRICS},
        "explore": {"recall@20": with_interval(found.explore["recall@20"], households.explore)},
        "beyond_accuracy": dict(found.beyond),
        "by_week": dict(found.by_week),
        "seconds": dict(found.seconds),
    }


def compared(champion: Outcome, other: Outcome, households: Households) -> dict[str, Any]:
    """Champion less other and champion over other, with 95 % intervals: NDCG@10, Recall@20 and explore Recall@20."""
    rows = {
        "ndcg@10": (champion.whole["ndcg@10"], other.whole["ndcg@10"], households.whole),
        "recall@20": (champion.whole["recall@20"], other.whole["recall@20"], households.whole),
        "explore_recall@20": (champion.explore["recall@20"], other.explore["recall@20"], households.explore),
    }
    return {
        name: {
            "difference": float((ours - theirs).mean()),
            "difference_interval": list(resamples.interval(ours - theirs)),
            "ratio": float(ours.mean() / max(theirs.mean(), 1e-6)),
            "ratio_interval": list(resamples.ratio_interval(ours, theirs)),
        }
        for name, (ours, theirs, resamples) in rows.items()
    }
