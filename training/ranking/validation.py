"""Rankers and encodings tried on weeks before the tests': what changes of the rankers are chosen by.

The last three weeks before the tests judge; the week before those stops and calibrates rankers, which learn from the
training weeks of the protocol that lie before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.paths import DataPaths, write_json
from shoprank.errors import UserError
from training import metrics
from training.ranking import contenders
from training.ranking.fitting import fit_rankers
from training.ranking.kept import Kept
from training.ranking.key import key_of_data
from training.ranking.level import forecast_errors, level, level_shift
from training.ranking.lists import draw_lists, whole
from training.ranking.network import Scores
from training.ranking.outcome import Households
from training.ranking.past import Past
from training.ranking.protocol import Protocol
from training.ranking.rows import Rows, columns_of
from training.ranking.run import CANDIDATES, LIST, Evaluation, kept_rows
from training.ranking.slate import Week, by_scores, measured
from training.ranking.tried import RECORDS, TRIED
from training.ranking.tuning import tune
from training.ranking.weeks import Weeks
from training.retrieval.log import F64, read_log

JUDGED_WEEKS = 3
"""Weeks that judge. Of one alone a difference in Recall@20 has a standard error of 0.002, of three 0.001."""
WHOLE = ("ndcg@10", "recall@20")
"""Measures of slates that may hold what the household has."""


def validate_rankers(
    paths: DataPaths,
    out: Path,
    record: str = "validation",
    protocol: Protocol | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Write the record's JSON into `out`, anew after each ranker, and return what it holds: `validation.json` of the
    rankers and of the baselines' settings, `grown.json` of what networks are given beside their columns.

    Looks at no purchase from the first test cutoff on. Rows, trials and rankers are kept in the data folder, so that a
    run that was interrupted goes on. Raises UserError where the features of a week are missing, or there are too few
    weeks.
    """
    tried, path = RECORDS[record], out / f"{record}.json"
    protocol = protocol or Protocol()
    log = read_log(paths).before(min(protocol.test))
    weeks = Weeks.before(protocol.test, train=protocol.train, validation=1)
    learned, calibrated, cutoffs = split(weeks)
    work = Evaluation(paths, log, weeks, protocol, (), stage)

    def made(cutoff: datetime, n: int = 0, parts: int = 1) -> Rows:
        return kept_rows(work, cutoff, {}, (n % parts, parts))

    rng = np.random.default_rng(0)
    past = Past.of(log, calibrated)
    train = draw_lists([made(cutoff, n, protocol.parts) for n, cutoff in enumerate(learned)], LIST, rng, past)
    validation = draw_lists([made(calibrated, len(learned), protocol.parts)], CANDIDATES, rng, past)
    judges = Judges(
        tuple(made(cutoff) for cutoff in cutoffs),
        tuple(Week.at(log, cutoff) for cutoff in cutoffs),
        tuple(level_shift(log, [calibrated], cutoff) for cutoff in cutoffs),
    )
    columns = columns_of([g.source for g in contenders.generators()])
    result: dict[str, Any] = {"protocol": {**_described(work, judges), "against": tried[0].name}, "rankers": {}}
    households = Households.of(judges.weeks)
    first: dict[str, F64] = {}
    asked = [Scores(whole(rows, past)) for rows in judges.rows]
    kept = Kept.of(paths.ranking, train, validation)
    for ranker, model, _ in fit_rankers(tried, train, validation, columns, {}, stage, kept):
        scores = [week.of(model)[0] for week in asked]
        accuracy = judges.accuracy(scores)
        first = first or accuracy
        result["rankers"][ranker.name] = {
            **{name: float(values.mean()) for name, values in accuracy.items()},
            **(judges.discrimination(scores, ranker.is_calibrated) if ranker.is_log_odds else {}),
            "differences": {
                name: [float(np.mean(gap)), *households.whole.interval(gap)]
                for name, gap in ((n, accuracy[n] - first[n]) for n in WHOLE)
            },
        }
        write_json(path, result)
    if tried is TRIED:
        result["tuning"] = tuned_trials(paths, Week.at(log, cutoffs[-1], protocol.tuned_on), stage)
        write_json(path, result)
    return result


def split(weeks: Weeks) -> tuple[tuple[datetime, ...], datetime, tuple[datetime, ...]]:
    """The cutoffs that rankers learn from, that which calibrates them, and those that judge, in order of time.

    Raises UserError where there are too few.
    """
    every = (*weeks.train, *weeks.validation)
    if len(every) < JUDGED_WEEKS + 2:
        raise UserError(
            f"{len(every)} weeks before the tests: at least {JUDGED_WEEKS + 2} are needed to try rankers on"
        )
    return every[: -JUDGED_WEEKS - 1], every[-JUDGED_WEEKS - 1], every[-JUDGED_WEEKS:]


@dataclass(frozen=True)
class Judges:
    """Rows and truth of the weeks that judge, with the shift of each to its own level."""

    rows: tuple[Rows, ...]
    weeks: tuple[Week, ...]
    shifts: tuple[float, ...]

    def accuracy(self, scores: Sequence[F64]) -> dict[str, F64]:
        """NDCG@10 and Recall@20 of each household's slates, and of new products, by each week's scores (n·k,)."""
        found: dict[str, list[F64]] = defaultdict(list)
        for z, rows, week in zip(scores, self.rows, self.weeks, strict=True):
            slates, explore = measured(by_scores(z, rows, 0, 0), week)
            for name in WHOLE:
                found[name].append(slates[name])
            found["explore_recall@20"].append(explore["recall@20"])
        return {name: np.concatenate(values) for name, values in found.items()}

    def discrimination(self, scores: Sequence[F64], is_calibrated: bool) -> dict[str, float]:
        """How well log-odds tell purchases from the rest, and calibration error over base.

        Those that end in `shifted` are after the shift to each week's level, absent where they are not calibrated.
        """
        label = np.concatenate([rows.label.ravel() for rows in self.rows]).astype(np.float32)
        base = float(label.mean())
        plain = metrics.discrimination(label, np.concatenate(scores))
        found = {name: plain[name] for name in ("roc_auc", "pr_auc", "log_loss")}
        found["calibration_over_base"] = plain["calibration_error"] / base
        if is_calibrated:
            shifted = np.concatenate([z + shift for z, shift in zip(scores, self.shifts, strict=True)])
            moved = metrics.discrimination(label, shifted)
            found["log_loss_shifted"] = moved["log_loss"]
            found["calibration_over_base_shifted"] = moved["calibration_error"] / base
        return found


def _described(work: Evaluation, judges: Judges) -> dict[str, Any]:
    """Which weeks are for what, and how much households buy in them."""
    learned, calibrated, cutoffs = split(work.weeks)
    every = (*learned, calibrated, *cutoffs)
    return {
        "train": [f"{cutoff:%Y-%m-%d}" for cutoff in learned],
        "calibrated": f"{calibrated:%Y-%m-%d}",
        "judged": [f"{cutoff:%Y-%m-%d}" for cutoff in cutoffs],
        "households": [len(week.users) for week in judges.weeks],
        "base_rate": float(np.mean(np.concatenate([rows.label.ravel() for rows in judges.rows]))),
        "level_shifts": list(judges.shifts),
        "level_forecast_errors": forecast_errors(work.log, cutoffs[-1]),
        "levels": {f"{cutoff:%Y-%m-%d}": level(work.log, cutoff) for cutoff in every},
    }


def tuned_trials(paths: DataPaths, week: Week, stage: Callable[[str], None]) -> Mapping[str, Mapping[str, Any]]:
    """What the settings tried of each baseline come to, and which is chosen."""
    tuned = tune(contenders.BASELINES, [week], paths.ranking, key_of_data(paths), stage)
    return {t.name: {"chosen": str(t.generator), "trials": t.trials} for t in tuned if t.trials}
