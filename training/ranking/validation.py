"""Rankers and encodings tried on weeks before the tests': what changes of the rankers are chosen by.

Rankers learn from all training weeks of the protocol but the last, which stops and calibrates them; the week after it,
the last before the tests, judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.paths import DataPaths, write_json
from training import metrics
from training.ranking import contenders
from training.ranking.ablation import (
    BINNED_NETWORK,
    LIST_NETWORK,
    TAUGHT_NETWORK,
    TREES,
    WIDE_LAYERS,
    Ranker,
    fit_rankers,
)
from training.ranking.key import key_of_data
from training.ranking.level import forecast_errors, level, level_shift
from training.ranking.lists import draw_lists, whole
from training.ranking.network import Network
from training.ranking.protocol import Protocol
from training.ranking.rows import Rows, columns_of
from training.ranking.run import CANDIDATES, LIST, Evaluation, kept_rows
from training.ranking.slate import Week, by_scores, measured
from training.ranking.trees import Trees
from training.ranking.tuning import tune
from training.ranking.weeks import Weeks
from training.retrieval.log import F64, read_log

_LEAVES = Ranker("LightGBM, 31 leaves", TREES)

TRIED = (
    Ranker("LightGBM", Trees("binary")),
    _LEAVES,
    Ranker("MLP", Network(WIDE_LAYERS)),
    Ranker("MLP, 8 bins, no mean of weights", replace(BINNED_NETWORK, average=0)),
    Ranker("MLP, 8 bins", BINNED_NETWORK),
    Ranker("MLP, 8 bins, taught", TAUGHT_NETWORK, teacher=_LEAVES.name),
    Ranker("MLP, 8 bins, taught, rows and lists", LIST_NETWORK, teacher=_LEAVES.name),
    *(
        Ranker(
            f"LambdaRank, {leaves} leaves, rate {rate}, {least} rows a leaf",
            Trees("lambdarank", leaves, rate, 800, least),
            is_log_odds=False,
        )
        for leaves, rate, least in ((15, 0.05, 100), (7, 0.1, 500), (31, 0.03, 500), (63, 0.03, 100))
    ),
)


def validate_rankers(
    paths: DataPaths,
    out: Path,
    tried: Sequence[Ranker] = TRIED,
    protocol: Protocol | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Write `validation.json` into `out`, anew after each ranker, and return what it holds.

    Looks at no purchase from the first test cutoff on. Rows and trials are kept in the data folder. Raises UserError
    where the features of a week are missing.
    """
    protocol = protocol or Protocol()
    log = read_log(paths).before(min(protocol.test))
    weeks = Weeks.before(protocol.test, train=protocol.train, validation=1)
    *learned, calibrated = weeks.train
    judged = weeks.validation[0]
    work = Evaluation(paths, log, weeks, protocol, (), stage)

    def made(cutoff: datetime, n: int = 0, parts: int = 1) -> Rows:
        return kept_rows(work, cutoff, {}, (n % parts, parts))

    rng = np.random.default_rng(0)
    train = draw_lists([made(cutoff, n, protocol.parts) for n, cutoff in enumerate(learned)], LIST, rng)
    validation = draw_lists([made(calibrated, len(learned), protocol.parts)], CANDIDATES, rng)
    rows, week = made(judged), Week.at(log, judged)
    columns = columns_of([g.source for g in contenders.generators()])
    shift = level_shift(log, [calibrated], judged)
    result: dict[str, Any] = {
        "protocol": {
            "train": [f"{cutoff:%Y-%m-%d}" for cutoff in learned],
            "calibrated": f"{calibrated:%Y-%m-%d}",
            "judged": f"{judged:%Y-%m-%d}",
            "households": len(week.users),
            "base_rate": float(rows.label.mean()),
            "level_shift": shift,
            "level_forecast_errors": forecast_errors(log, judged),
            "levels": {f"{cutoff:%Y-%m-%d}": level(log, cutoff) for cutoff in (*weeks.train, judged)},
        },
        "rankers": {},
    }
    for ranker, model, _ in fit_rankers(tried, train, validation, columns, {}, stage):
        result["rankers"][ranker.name] = judgement(
            model.score(whole(rows)), rows, week, ranker.is_log_odds, shift if ranker.is_calibrated else None
        )
        write_json(out / "validation.json", result)
    result["tuning"] = tuned_trials(paths, Week.at(log, judged, protocol.tuned_on), stage)
    write_json(out / "validation.json", result)
    return result


def judgement(z: F64, rows: Rows, week: Week, is_log_odds: bool, shift: float | None) -> dict[str, float]:
    """Accuracy of the slates by scores z (n·k,); of log-odds their discrimination, and calibration error over base.

    `shifted` is after adding `shift`, absent where that is None.
    """
    whole_slates, explore = measured(by_scores(z, rows, 0, 0), week)
    found = {name: float(whole_slates[name].mean()) for name in ("ndcg@10", "recall@20")}
    found["explore_recall@20"] = float(explore["recall@20"].mean())
    if is_log_odds:
        label = rows.label.ravel().astype(np.float32)
        base = float(label.mean())
        plain = metrics.discrimination(label, z)
        found |= {name: plain[name] for name in ("roc_auc", "pr_auc", "log_loss")}
        found["calibration_over_base"] = plain["calibration_error"] / base
        if shift is not None:
            moved = metrics.discrimination(label, z + shift)
            found["log_loss_shifted"] = moved["log_loss"]
            found["calibration_over_base_shifted"] = moved["calibration_error"] / base
    return found


def tuned_trials(paths: DataPaths, week: Week, stage: Callable[[str], None]) -> Mapping[str, Mapping[str, Any]]:
    """What the settings tried of each baseline come to, and which is chosen."""
    tuned = tune(contenders.BASELINES, [week], paths.ranking, key_of_data(paths), stage)
    return {t.name: {"chosen": str(t.generator), "trials": t.trials} for t in tuned if t.trials}
