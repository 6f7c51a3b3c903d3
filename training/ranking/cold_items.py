"""Cold start of items: what is sold for the first time, by nothing but what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluate.slates import F64, accuracy, member
from training.ranking.cold_figures import Tally
from training.ranking.slate import Week
from training.retrieval.content import Content
from training.retrieval.generator import Scorer, pieces, top
from training.retrieval.log import I32, I64, PurchaseLog, Sparse
from training.retrieval.popularity import Popularity, Same

Stage = Callable[[str], None]
DAYS = 28
"""An item is new that was first sold in so many days before the cutoff, or never before it."""
KS = (10, 20, 100)
CHANCE = "at random"
CATEGORY = "popularity of its subcategory"
CONTENT = "content"
BOTH = "content and popularity of its subcategory"
SALES = "its own sales so far"
CONTENDERS = (CHANCE, CATEGORY, CONTENT, BOTH)


@dataclass(frozen=True)
class CategoryRate:
    """Items by the purchases of `days` days of an item of their subcategory, the mean of all its items."""

    days: float = 28
    source: str = "category-rate"

    def fit(self, log: PurchaseLog) -> Same:
        """Count; an item without a subcategory has no score."""
        codes = log.catalogue.codes("subcategory")
        items = np.bincount(codes)
        rate = np.bincount(codes, log.popularity(self.days)) / np.maximum(items, 1)
        named = log.catalogue.content["subcategory"].astype(str) != ""
        return Same(np.where(named, rate[codes], 0).astype(np.float32))


def new_items(log: PurchaseLog, cutoffs: Sequence[datetime], resamples: int, stage: Stage) -> dict[str, Any]:
    """Recall among the new items of those that a household buys, for households that buy any.

    `recent` and `unsold`: first sold in the 28 days before the cutoff, and never before it. What was sold of them is
    hidden from all but the contender that is named for it.
    """
    found: dict[str, Any] = {}
    for kind in ("recent", "unsold"):
        tally, items = Tally(), []
        for cutoff in cutoffs:
            stage(f"{kind} items at {cutoff:%Y-%m-%d}")
            week = Week.at(log, cutoff)
            new = np.flatnonzero(_of_kind(kind, week.log)).astype(np.int32)
            items.append(len(new))
            if len(new):
                _add(tally, week, new, with_sales=kind == "recent")
        found[kind] = {"items": items, **tally.figures(resamples, CHANCE)}
    return found


def first_sold(log: PurchaseLog) -> F64:
    """Days since 1970 UTC when each item was first sold, (N,); ∞ for those that never were."""
    first = np.full(log.catalogue.shape[1], np.inf)
    np.minimum.at(first, log.items, log.at)
    return first


def _of_kind(kind: str, past: PurchaseLog) -> npt.NDArray[np.bool_]:
    first = first_sold(past)
    unsold: npt.NDArray[np.bool_] = np.isinf(first)
    return unsold if kind == "unsold" else ~unsold & (first >= past.now - DAYS)


def _add(tally: Tally, week: Week, new: I32, with_sales: bool) -> None:
    """Recall of every contender among the new items, of households that buy one."""
    truth = week.truth[:, new].tocsr()
    users = week.users[np.diff(truth.indptr)[week.users] > 0]
    if not len(users):
        return
    known = week.log.take(~np.isin(week.log.items, np.flatnonzero(first_sold(week.log) >= week.log.now - DAYS)))
    content, rate = Content().fit(known), CategoryRate().fit(known)
    scorers: dict[str, Scorer] = {
        CATEGORY: rate,
        CONTENT: replace(content, prior=np.ones_like(content.prior)),
        BOTH: replace(content, prior=np.sqrt(rate.scores)),
    }
    if with_sales:
        scorers[SALES] = Popularity(DAYS).fit(week.log)
    rows = {CHANCE: {f"recall@{k}": np.full(len(users), min(1.0, k / len(new))) for k in KS}}
    rows |= {name: _recall(scorer, users, new, truth) for name, scorer in scorers.items()}
    tally.add(users, rows)


def _recall(scorer: Scorer, users: I64, new: I32, truth: Sparse) -> dict[str, F64]:
    slates = np.concatenate([top(scorer.score(users[rows])[:, new], max(KS)) for rows in pieces(users)])
    slates = np.pad(slates, ((0, 0), (0, max(KS) - slates.shape[1])), constant_values=-1)
    hits = member(users, slates, truth)
    found = accuracy(hits, np.diff(truth.indptr)[users], KS)
    return {f"recall@{k}": found[f"recall@{k}"] for k in KS}
