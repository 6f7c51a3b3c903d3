"""Slates of one contender on one test week, whole and of products that are new to the household alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from training.evaluate.slates import F64, accuracy, member
from training.ranking.arrays import write_arrays
from training.ranking.rows import Rows, required_users
from training.retrieval.generator import Generator, pieces, top
from training.retrieval.log import F32, I32, I64, PurchaseLog, Sparse, unseen
from training.schedule import HORIZON

SIZE = 20


@dataclass(frozen=True)
class Week:
    """A cutoff, the log before it and what was bought after: truth and new are users × items, 0 or 1, CSR.

    new: of truth, what the household had never bought. owned: what it had. users: those with a purchase on both sides.
    repeats: whether people take an item again; where not, slates hold nothing they have.
    """

    cutoff: datetime
    log: PurchaseLog
    users: I64
    truth: Sparse
    new: Sparse
    owned: Sparse
    repeats: bool = True

    @classmethod
    def at(cls, log: PurchaseLog, cutoff: datetime, step: int = 1, repeats: bool = True) -> Week:
        """The week of purchases that begins at the cutoff, of every `step`-th user.

        Raises UserError where nobody bought anything before and in it.
        """
        past, truth = log.before(cutoff), log.truth(cutoff, HORIZON)
        owned = past.owned()
        return cls(cutoff, past, required_users(log, cutoff)[::step], truth, unseen(truth, owned), owned, repeats)

    def shown(self, slates: Slates) -> I32:
        """The slates' items as they are shown, (n, 20): where nobody takes an item again, those of `explore`."""
        return slates.items if self.repeats else slates.explore


@dataclass(frozen=True)
class Slates:
    """Slates of n households: items, explore int32 (n, 20), best first. seconds: to fit, and to score everybody."""

    items: I32
    explore: I32
    fit_seconds: float
    score_seconds: float


def by_generator(generator: Generator, week: Week) -> Slates:
    """Slates straight from a generator over the whole catalogue."""
    start = perf_counter()
    scorer = generator.fit(week.log)
    fitted = perf_counter()
    items, explore = [], []
    for rows in pieces(week.users):
        scores = scorer.score(week.users[rows])
        items.append(top(scores, SIZE))
        scores[week.owned[week.users[rows]].nonzero()] = -np.inf
        explore.append(top(scores, SIZE))
    return Slates(np.concatenate(items), np.concatenate(explore), fitted - start, perf_counter() - fitted)


def kept_by_generator(generator: Generator, week: Week, folder: Path, key: str) -> Slates:
    """As `by_generator`, read from the folder where the same was made of the same data before (`key`)."""
    name = hashlib.sha256(f"{key} {generator} {week.cutoff} {len(week.users)}".encode()).hexdigest()[:16]
    path = folder / f"slates-{name}.npz"
    if path.is_file():
        with np.load(path) as kept:
            return Slates(kept["items"], kept["explore"], float(kept["seconds"][0]), float(kept["seconds"][1]))
    slates = by_generator(generator, week)
    seconds = np.array([slates.fit_seconds, slates.score_seconds])
    write_arrays(path, items=slates.items, explore=slates.explore, seconds=seconds)
    return slates


def by_scores(scores: F64, rows: Rows, fit_seconds: float, score_seconds: float) -> Slates:
    """Slates from scores (n·k,) of candidates; of new products from those of them that are."""
    table = scores.reshape(rows.shape).astype(np.float32)
    unowned: F32 = np.where(rows.owned, -np.inf, table)
    ordered = (np.take_along_axis(rows.items, top(s, SIZE), 1) for s in (table, unowned))
    items, explore = ordered
    return Slates(items, explore, fit_seconds, score_seconds)


def measured(slates: Slates, week: Week) -> tuple[dict[str, F64], dict[str, F64]]:
    """Metrics by household of the slates (n,), and of the explore slates of the m ≤ n that have explore truth."""
    wanted = np.diff(week.truth.indptr)[week.users]
    new = np.diff(week.new.indptr)[week.users]
    explorers = new > 0
    whole = accuracy(member(week.users, week.shown(slates), week.truth), wanted)
    explored = accuracy(member(week.users, slates.explore, week.new)[explorers], new[explorers])
    return whole, explored
