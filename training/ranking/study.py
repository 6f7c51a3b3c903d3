"""Runs a study: tunes its contenders and blends, trains the rankers over the best blend, and judges the slates.

It is the evaluation of `training.ranking.run` on other data: the same generators, tuning, rows, rankers and metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from feature_repo.paths import DataPaths, write_json
from shoprank.errors import UserError
from training.ranking.ablation import RANKERS
from training.ranking.contenders import Contender
from training.ranking.fitting import fit_rankers
from training.ranking.kept import Kept
from training.ranking.key import key_of_data
from training.ranking.lists import draw_lists, whole
from training.ranking.names import CHAMPION
from training.ranking.outcome import RESAMPLES, Households, Outcome, compared, described, outcome
from training.ranking.past import Past
from training.ranking.protocol import last_weeks
from training.ranking.ranker import Ranker
from training.ranking.rows import Rows, columns_of, required_users, rows_at
from training.ranking.slate import Slates, Week, by_generator, by_scores
from training.ranking.studies import BLEND, Study
from training.ranking.tuning import Tuned, tune
from training.ranking.weeks import Weeks
from training.retrieval.blend import fit_blend
from training.retrieval.fused import Fused
from training.retrieval.generator import Generator
from training.retrieval.log import DAY, PurchaseLog, read_log
from training.retrieval.unowned import Unowned

Stage = Callable[[str], None]
Sources = Sequence[tuple[Generator, float]]
LIST = 128


@dataclass(frozen=True)
class Work:
    """A study with its data. test: its weeks, with the log before each and the truth after."""

    study: Study
    paths: DataPaths
    log: PurchaseLog
    weeks: Weeks
    test: tuple[Week, ...]
    stage: Stage


def run_study(study: Study, paths: DataPaths, out: Path, stage: Stage = lambda name: None) -> dict[str, Any]:
    """Write `<study>.json` into `out` and return what it holds.

    Trials of settings and fitted rankers are kept in the data folder, so that a run that was interrupted goes on.

    Raises UserError where the data is too short for the weeks, or the features of a week are missing.
    """
    log = read_log(paths)
    weeks = weeks_of(log, study)
    work = Work(
        study, paths, log, weeks, tuple(Week.at(log, cutoff, repeats=study.repeats) for cutoff in weeks.test), stage
    )
    tuned = _tuned(work)
    outcomes = {t.name: _outcome(work, t) for t in tuned}
    if study.train:
        outcomes[CHAMPION] = _ranked(work, _sources(work, tuned))
    result = _result(work, tuned, outcomes)
    write_json(out / f"{study.name}.json", result)
    return result


def weeks_of(log: PurchaseLog, study: Study) -> Weeks:
    """Test weeks are the last whole ones of the log, from Monday; validation and training weeks lie before them."""
    test = last_weeks(_moment(log.at.min()), _moment(log.at.max()), study.test)
    weeks = Weeks.before(test, train=max(study.train, 1), validation=study.validation)
    if not len(log.before(weeks.train[0])):
        raise UserError(f"no purchase before {weeks.train[0]:%Y-%m-%d}, the first cutoff of the study {study.name}")
    return weeks


def _moment(days: float) -> datetime:
    return datetime.fromtimestamp(float(days) * DAY, UTC).replace(tzinfo=None)


def _proposing(study: Study, generator: Generator) -> Generator:
    """A source of the blend: where nobody takes an item again, its list keeps no place for what the user has."""
    return generator if study.repeats else Unowned(generator)


def _tuned(work: Work) -> list[Tuned]:
    """The contenders, and the best blend of them last."""
    study, key = work.study, key_of_data(work.paths)
    weeks = [Week.at(work.log, cutoff, repeats=study.repeats) for cutoff in work.weeks.validation]
    found = tune(study.contenders, weeks, work.paths.ranking, key, work.stage)
    source = {t.name: _proposing(study, t.generator) for t in found}
    blends = tuple(
        Fused(name, tuple((source[part], weight) for part, weight in weights.items()))
        for name, weights in study.blends.items()
    )
    return found + tune([Contender(BLEND, blends)], weeks, work.paths.ranking, key, work.stage)


def _outcome(work: Work, tuned: Tuned) -> Outcome:
    work.stage(f"{tuned.name} on the test weeks")
    return outcome([by_generator(tuned.generator, week) for week in work.test], work.test)


def _sources(work: Work, tuned: Sequence[Tuned]) -> Sources:
    """Every contender with its weight in the best blend, which may be 0: a ranker still sees what it says."""
    blend = tuned[-1].generator
    assert isinstance(blend, Fused)
    weights = work.study.blends[blend.name]
    return [(_proposing(work.study, t.generator), weights.get(t.name, 0.0)) for t in tuned[:-1]]


def _ranked(work: Work, sources: Sources) -> Outcome:
    """The outcome of the ranker over the blend's candidates: trained, stopped and judged on rows of its own weeks."""
    rng = np.random.default_rng(0)
    past, weeks = Past.of(work.log, work.weeks.validation[0]), work.weeks
    train = draw_lists([_rows(work, sources, c) for c in weeks.train], LIST, rng, past)
    validation = draw_lists([_rows(work, sources, c) for c in weeks.validation], work.study.candidates, rng, past)
    test = [_rows(work, sources, c) for c in work.weeks.test]
    columns = columns_of([generator.source for generator, _ in sources])
    kept = Kept.of(work.paths.ranking, train, validation)
    fitted = list(fit_rankers(champion_and_members(), train, validation, columns, {}, work.stage, kept))
    _, model, seconds = fitted[-1]
    slates: list[Slates] = []
    for rows in test:
        start = perf_counter()
        scores = model.score(whole(rows, past))
        slates.append(by_scores(scores, rows, seconds, perf_counter() - start))
    return outcome(slates, work.test)


def champion_and_members() -> list[Ranker]:
    """The rankers that the champion is made of and their teachers, itself last, in the order of the ablation."""
    by_name = {ranker.name: ranker for ranker in RANKERS}
    needed, found = [CHAMPION], set[str]()
    while needed:
        name = needed.pop()
        found.add(name)
        needed += by_name[name].members
        if by_name[name].teacher:
            needed.append(by_name[name].teacher)
    return [ranker for ranker in RANKERS if ranker.name in found]


def _rows(work: Work, sources: Sources, cutoff: datetime) -> Rows:
    work.stage(f"candidates at {cutoff:%Y-%m-%d}")
    users = required_users(work.log, cutoff)
    blend = fit_blend(work.log.before(cutoff), [g for g, _ in sources], [w for _, w in sources])
    return rows_at(work.paths, work.log, cutoff, blend.candidates(users, work.study.candidates))


def _result(work: Work, tuned: Sequence[Tuned], outcomes: dict[str, Outcome]) -> dict[str, Any]:
    work.stage("resampling users")
    users = Households.of(work.test)
    ours = [name for name in (BLEND, CHAMPION) if name in outcomes]
    weeks = work.weeks
    return {
        "protocol": {
            "data": work.study.title,
            "repeats": work.study.repeats,
            "purchases": len(work.log),
            "users": len(np.unique(work.log.users)),
            "items": work.log.catalogue.shape[1],
            "first": f"{_moment(work.log.at.min()):%Y-%m-%d}",
            "last": f"{_moment(work.log.at.max()):%Y-%m-%d}",
            **{
                name: [f"{c:%Y-%m-%d}" for c in cutoffs]
                for name, cutoffs in (("test", weeks.test), ("validation", weeks.validation), ("train", weeks.train))
                if name != "train" or work.study.train
            },
            "slates": [len(week.users) for week in work.test],
            "distinct_users": len(np.unique(np.concatenate([week.users for week in work.test]))),
            "resamples": RESAMPLES,
            "candidates": work.study.candidates,
        },
        "tuning": {t.name: {"chosen": str(t.generator), "trials": t.trials} for t in tuned},
        "contenders": {name: described(found, users) for name, found in outcomes.items()},
        "comparisons": {
            our: {name: compared(outcomes[our], other, users) for name, other in outcomes.items() if name != our}
            for our in ours
        },
    }
