"""The ranking evaluation, end to end: tune the baselines, retrieve, train the rankers, judge the slates."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from feature_repo.paths import DataPaths, write_json
from training import metrics
from training.ranking import contenders
from training.ranking.ablation import RANKERS
from training.ranking.fitting import fit_rankers
from training.ranking.kept import Kept
from training.ranking.key import key_of_data
from training.ranking.level import level_shift
from training.ranking.lists import Lists, draw_lists, whole
from training.ranking.names import CHAMPION, LIGHTGBM, STORED
from training.ranking.network import Scores
from training.ranking.outcome import RESAMPLES, Households, Outcome, compared, described, outcome
from training.ranking.past import Past
from training.ranking.protocol import Protocol
from training.ranking.ranker import Model, Ranker
from training.ranking.recall import candidate_recall, recall_by_source
from training.ranking.rows import Rows, columns_of, required_users, rows_at
from training.ranking.slate import Slates, Week, by_scores, kept_by_generator
from training.ranking.stored import fit_stored
from training.ranking.tuning import Tuned, tune
from training.ranking.weeks import Weeks
from training.retrieval.blend import Blend, fit_blend
from training.retrieval.log import F64, PurchaseLog, read_log

Stage = Callable[[str], None]
CANDIDATES = 500
LIST = 128


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation works on."""

    paths: DataPaths
    log: PurchaseLog
    weeks: Weeks
    protocol: Protocol
    test: tuple[Week, ...]
    stage: Stage


def evaluate_ranking(
    paths: DataPaths, out: Path, protocol: Protocol, stage: Stage = lambda name: None
) -> dict[str, Any]:
    """Write `ranking.json` into `out` and return what it holds.

    Candidates with their features, trials of settings and fitted rankers are kept in the data folder, so a second run
    is shorter, and one that was interrupted goes on. Raises UserError where the features of a week are missing.
    """
    log = read_log(paths)
    weeks = Weeks.before(protocol.test, protocol.train, protocol.validation)
    test = tuple(Week.at(log, cutoff, repeats=protocol.repeats) for cutoff in weeks.test)
    work = Evaluation(paths, log, weeks, protocol, test, stage)
    stage(STORED)
    start = perf_counter()
    stored = fit_stored(paths, weeks.validation[0])
    seconds = perf_counter() - start
    rows, stages = _rows(work)
    models = _models(work, rows, {STORED: (stored, seconds)})
    tuned = _tuned(work)
    outcomes = _baselines(work, tuned)
    shifts = [level_shift(log, weeks.validation, cutoff) for cutoff in weeks.test]
    scores = _scores(models, rows.test, shifts, rows.train.block.past)
    for ranker, _, seconds in models:
        slates = [by_scores(z, r, seconds, t) for (z, t), r in zip(scores[ranker.name], rows.test, strict=True)]
        outcomes[ranker.name] = outcome(slates, work.test)
    result = _result(work, tuned, rows, outcomes, models, scores, stages)
    write_json(out / "ranking.json", result)
    return result


@dataclass(frozen=True)
class SplitRows:
    """Rows of each split, a week each, and the lists drawn from the first two."""

    train: Lists
    validation: Lists
    test: tuple[Rows, ...]


def _tuned(work: Evaluation) -> list[Tuned]:
    protocol = work.protocol
    weeks = [Week.at(work.log, cutoff, protocol.tuned_on, protocol.repeats) for cutoff in work.weeks.validation]
    return tune(contenders.BASELINES, weeks, work.paths.ranking, key_of_data(work.paths), work.stage)


def _rows(work: Evaluation) -> tuple[SplitRows, dict[str, float]]:
    seconds: dict[str, float] = {}
    rng = np.random.default_rng(0)

    def made(cutoff: datetime, part: tuple[int, int] = (0, 1)) -> Rows:
        return kept_rows(work, cutoff, seconds, part)

    parts = work.protocol.parts
    past = Past.of(work.log, work.weeks.validation[0])
    train = draw_lists([made(c, (n % parts, parts)) for n, c in enumerate(work.weeks.train)], LIST, rng, past)
    validation = draw_lists([made(c) for c in work.weeks.validation], CANDIDATES, rng, past)
    return SplitRows(train, validation, tuple(made(c) for c in work.weeks.test)), seconds


def rows_path(paths: DataPaths, cutoff: datetime, part: tuple[int, int]) -> Path:
    """Where the rows of a cutoff and a part of its users are kept."""
    key = key_of_data(paths, contenders.SOURCES, CANDIDATES, part)
    return paths.ranking / f"rows-{cutoff:%Y-%m-%d}-{key[:12]}.npz"


def kept_rows(work: Evaluation, cutoff: datetime, seconds: dict[str, float], part: tuple[int, int] = (0, 1)) -> Rows:
    """The rows of a cutoff: read where they are kept, else made. `seconds` gets the time of each stage of making them.

    part: first user and step, of those with purchases on both sides of the cutoff.
    """
    path = rows_path(work.paths, cutoff, part)
    spent_on = path.with_suffix(".json")
    if path.is_file():
        if spent_on.is_file():
            seconds.update(json.loads(spent_on.read_text()))
        return Rows.read(path)
    users = required_users(work.log, cutoff)[part[0] :: part[1]]
    times = [perf_counter()]
    blend = fit_blend(work.log.before(cutoff), contenders.generators(), contenders.weights(), work.stage)
    times.append(perf_counter())
    work.stage(f"candidates at {cutoff:%Y-%m-%d}")
    candidates = blend.candidates(users, CANDIDATES)
    times.append(perf_counter())
    rows = rows_at(work.paths, work.log, cutoff, candidates)
    times.append(perf_counter())
    for name, spent in zip(("fit generators", "retrieve", "join features"), np.diff(times), strict=True):
        seconds[name] = float(spent)
    seconds["households"] = float(len(candidates.users))
    write_json(spent_on, seconds)
    rows.write(path)
    return rows


def _models(
    work: Evaluation, rows: SplitRows, given: dict[str, tuple[Model, float]]
) -> list[tuple[Ranker, Model, float]]:
    columns = columns_of([g.source for g in contenders.generators()])
    kept = Kept.of(work.paths.ranking, rows.train, rows.validation)
    return list(fit_rankers(RANKERS, rows.train, rows.validation, columns, given, work.stage, kept))


def _baselines(work: Evaluation, tuned: Sequence[Tuned]) -> dict[str, Outcome]:
    found = {}
    for baseline in tuned:
        work.stage(f"{baseline.name} on the test weeks")
        slates: list[Slates] = [
            kept_by_generator(baseline.generator, week, work.paths.ranking, key_of_data(work.paths))
            for week in work.test
        ]
        found[baseline.name] = outcome(slates, work.test)
    return found


def _scores(
    models: Sequence[tuple[Ranker, Model, float]], weeks: Sequence[Rows], shifts: Sequence[float], past: Past
) -> dict[str, list[tuple[F64, float]]]:
    """Each ranker's scores of the rows of each week with the seconds they took; a member of ensembles scores once.

    Log-odds that took over the level of the validation weeks are shifted to that of their own.
    """
    found: dict[str, list[tuple[F64, float]]] = {ranker.name: [] for ranker, _, _ in models}
    for rows, shift in zip(weeks, shifts, strict=True):
        asked = Scores(whole(rows, past))
        for ranker, model, _ in models:
            z, seconds = asked.of(model)
            found[ranker.name].append((z + shift if ranker.is_calibrated else z, seconds))
    return found


def _result(
    work: Evaluation,
    tuned: Sequence[Tuned],
    rows: SplitRows,
    outcomes: dict[str, Outcome],
    models: Sequence[tuple[Ranker, Model, float]],
    scores: dict[str, list[tuple[F64, float]]],
    stages: dict[str, float],
) -> dict[str, Any]:
    work.stage("resampling households")
    households = Households.of(work.test)
    label = np.concatenate([r.label.ravel() for r in rows.test]).astype(np.float32)
    champion = outcomes[CHAMPION]
    return {
        "protocol": {
            "test": [f"{c:%Y-%m-%d}" for c in work.weeks.test],
            "validation": [f"{c:%Y-%m-%d}" for c in work.weeks.validation],
            "train": [f"{c:%Y-%m-%d}" for c in work.weeks.train],
            "households": [len(w.users) for w in work.test],
            "explore_households": int(sum((np.diff(w.new.indptr)[w.users] > 0).sum() for w in work.test)),
            "resamples": RESAMPLES,
            "candidates": CANDIDATES,
            "list": LIST,
            "tuned_on_every": work.protocol.tuned_on,
            "repeats": work.protocol.repeats,
        },
        "tuning": {t.name: {"chosen": str(t.generator), "trials": t.trials} for t in tuned},
        "candidates": _candidates(work, rows),
        "contenders": {name: described(found, households) for name, found in outcomes.items()},
        "champion": CHAMPION,
        "comparisons": {
            name: compared(champion, other, households) for name, other in outcomes.items() if name != CHAMPION
        },
        "classification": {
            ranker.name: metrics.discrimination(label, np.concatenate([z for z, _ in scores[ranker.name]]))
            for ranker, _, _ in models
            if ranker.is_log_odds
        },
        "classified": {"rows": len(label), "base_rate": float(label.mean()), "against": LIGHTGBM},
        "stage_seconds": stages,
    }


def _candidates(work: Evaluation, rows: SplitRows) -> dict[str, Any]:
    sources = [g.source for g in contenders.generators()]
    names = columns_of(sources).numeric
    at = {source: names.index(f"retrieval_{source}_rank") for source in sources}
    by_column = recall_by_source(rows.test, list(at.values()), Blend.depth)
    return {
        **candidate_recall(rows.test, work.test),
        "by_source": {source: by_column[column] for source, column in at.items()},
    }
