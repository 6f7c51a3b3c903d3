"""How much of a week's purchases retrievers list, alone and fused into the blend, on the week before the tests'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from feature_repo.paths import DataPaths, write_json
from shoprank.errors import UserError
from training.ranking import contenders
from training.ranking.judge import Judge, wanting
from training.ranking.protocol import TEST
from training.ranking.slate import Week
from training.retrieval.blend import OFFSET
from training.retrieval.factors import ImplicitAls
from training.retrieval.generator import Generator, Scorer, pieces, top
from training.retrieval.learned import HALF_LIFE
from training.retrieval.log import F32, F64, I32, I64, read_log
from training.retrieval.search import Approximate, Exact
from training.retrieval.tower_training import Fit
from training.retrieval.two_tower import FittedTowers, TwoTower
from training.schedule import HORIZON

Stage = Callable[[str], None]
DEPTH = 500
RESAMPLES = 2_000
JUDGED = datetime(2017, 10, 23)
PROBED = (16, 32, 64, 128)
"""Cells that the approximate search looks into."""


@dataclass(frozen=True)
class Retriever:
    """A generator under the name it has in the results."""

    name: str
    generator: Generator


TOWERS = (
    Retriever("two towers, pooled", TwoTower()),
    Retriever("two towers, GRU", TwoTower("gru", length=64)),
    Retriever("two towers, CNN", TwoTower("cnn", length=64)),
    Retriever("two towers, pooled, new products alone", TwoTower(training=Fit(aim="new"))),
    Retriever("two towers, pooled, hard negatives", TwoTower(hard=ImplicitAls())),
    Retriever("two towers, pooled, as served", TwoTower(half_life=HALF_LIFE)),
)
WEIGHTS = (0.5, 1.0, 2.0)
"""Weights of the towers in the blend that are tried."""


@dataclass(frozen=True)
class Lists:
    """The best 500 of n households, int32 (n, 500), −1 where there are fewer: of all items, and of those it has not."""

    whole: I32
    unowned: I32

    def judged(self, judge: Judge) -> dict[str, F64]:
        """Recall by these lists (`Judge.recalls`)."""
        return judge.recalls(self.whole, self.unowned)


def evaluate_retrievers(
    paths: DataPaths,
    out: Path,
    cutoff: datetime = JUDGED,
    towers: Sequence[Retriever] = TOWERS,
    stage: Stage = lambda name: None,
    tests_from: datetime = TEST[0],
) -> dict[str, Any]:
    """Write `retrievers.json` into `out`, anew after each retriever, and return what it holds.

    tests_from: the first test cutoff; no purchase from it on is read. Raises UserError where the week of `cutoff`
    reaches beyond it, or nobody bought anything before and in it.
    """
    if cutoff > tests_from - HORIZON:
        raise UserError(f"the week of {cutoff:%Y-%m-%d} reaches into the test weeks, from {tests_from:%Y-%m-%d}")
    week = Week.at(read_log(paths).before(cutoff + HORIZON), cutoff)
    judge = Judge.of(week, RESAMPLES)
    result: dict[str, Any] = {
        "protocol": {
            "cutoff": f"{cutoff:%Y-%m-%d}",
            "depth": DEPTH,
            "households": len(week.users),
            "households_with_new_products": int(wanting(week, week.new).sum()),
            "resamples": RESAMPLES,
        },
        "retrievers": {},
    }
    lists = {}
    sources = [Retriever(generator.source, generator) for generator in contenders.generators()]
    for retriever in (*sources, *towers):
        stage(retriever.name)
        start = perf_counter()
        scorer = retriever.generator.fit(week.log)
        found: dict[str, Any] = {"settings": str(retriever.generator), "fit_seconds": perf_counter() - start}
        lists[retriever.name] = listed(scorer, week)
        found |= judge.described(lists[retriever.name].judged(judge))
        if isinstance(scorer, FittedTowers):
            found["epochs"] = list(scorer.epochs)
            if "search" not in result:
                result["search"] = searched(scorer, week)
        result["retrievers"][retriever.name] = found
        write_json(out / "retrievers.json", result)
    stage("blends")
    blend = [(lists[r.name].whole, weight) for r, weight in zip(sources, contenders.weights(), strict=True)]
    result["blend"] = fused(judge, blend, {t.name: lists[t.name].whole for t in towers})
    write_json(out / "retrievers.json", result)
    return result


def listed(scorer: Scorer, week: Week) -> Lists:
    """The lists of each household of the week; an item of score 0 or less is in none."""
    whole, unowned = [], []
    for rows in pieces(week.users):
        scores = scorer.score(week.users[rows]).copy()
        whole.append(_best(scores))
        scores[week.owned[week.users[rows]].nonzero()] = -np.inf
        unowned.append(_best(scores))
    return Lists(np.concatenate(whole), np.concatenate(unowned))


def fused(judge: Judge, blend: Sequence[tuple[I32, float]], towers: Mapping[str, I32]) -> dict[str, Any]:
    """Recall of the blend's first 500, and with each of the towers' lists beside the blend's, by its weight."""
    plain = blended(blend, judge.week).judged(judge)
    found: dict[str, Any] = {"without": judge.described(plain), "with": {}}
    for name, own in towers.items():
        found["with"][name] = {
            str(weight): judge.described(blended([*blend, (own, weight)], judge.week).judged(judge), plain)
            for weight in WEIGHTS
        }
    return found


def blended(lists: Sequence[tuple[I32, float]], week: Week) -> Lists:
    """Lists (n, 500) with their weights, as `training.retrieval.blend` fuses them."""
    whole, unowned = [], []
    for rows in pieces(week.users, 128):
        gain = np.zeros((rows.stop - rows.start, week.truth.shape[1] + 1), np.float32)
        for items, weight in lists:
            place = weight / (OFFSET + np.arange(items.shape[1], dtype=np.float32))
            gain[np.arange(len(gain))[:, None], items[rows]] += place  # what is no item, −1, falls on the last column
        named = np.flatnonzero(gain[:, :-1].any(axis=0))  # all others have a gain of 0: the search is shorter
        gain = gain[:, named]
        whole.append(_best(gain, named))
        gain[week.owned[week.users[rows]][:, named].nonzero()] = -np.inf
        unowned.append(_best(gain, named))
    return Lists(np.concatenate(whole), np.concatenate(unowned))


def _best(scores: F32, named: I64 | None = None) -> I32:
    """The best 500 of scores (n, m) of items (m,), of all where not given; −1 where the score is 0 or less."""
    best = top(scores, DEPTH)
    proposed = np.take_along_axis(scores, best, 1) > 0
    found = np.full((len(scores), DEPTH), -1, np.int32)
    found[:, : best.shape[1]] = np.where(proposed, best if named is None else named[best], -1)
    return found


def searched(fitted: FittedTowers, week: Week) -> dict[str, Any]:
    """The approximate search of the towers' vectors beside the exact: recall of its 500, milliseconds a household."""
    queries = fitted.towers.user_vectors(fitted.history(week.users))
    depth = min(DEPTH, len(fitted.vectors))
    start = perf_counter()
    exact = Exact(fitted.vectors).search(queries, depth)[0]
    exact_ms = 1000 * (perf_counter() - start) / len(queries)
    start = perf_counter()
    index = Approximate(fitted.vectors)
    built = perf_counter() - start
    trials = {}
    for probes in PROBED:
        start = perf_counter()
        near = index.search(queries, depth, probes)[0]
        ms = 1000 * (perf_counter() - start) / len(queries)
        same = [len(np.intersect1d(a, b)) for a, b in zip(exact, near, strict=True)]
        trials[str(probes)] = {"recall": float(np.mean(same)) / depth, "ms": ms}
    return {"items": len(fitted.vectors), "exact_ms": exact_ms, "build_seconds": built, "approximate": trials}
