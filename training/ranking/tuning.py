"""Chooses each baseline's settings by NDCG@10 on validation weeks, and writes down every trial."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feature_repo.paths import write_json
from training.ranking.contenders import Contender
from training.ranking.slate import Week, by_generator, measured
from training.retrieval.generator import Generator


@dataclass(frozen=True)
class Tuned:
    """A contender's chosen settings. trials: settings as text, with the mean NDCG@10 over households and weeks."""

    name: str
    generator: Generator
    trials: dict[str, float]


def tune(
    contenders: Sequence[Contender],
    weeks: Sequence[Week],
    kept: Path,
    key: str,
    stage: Callable[[str], None] = lambda name: None,
) -> list[Tuned]:
    """Try every setting of every contender. Trials are kept in the folder `kept`, by `key` of the data and settings."""
    tuned = []
    for contender in contenders:
        trials = {}
        for generator in contender.settings:
            stage(f"{contender.name}: {generator}")
            trials[str(generator)] = _trial(generator, weeks, kept, key) if len(contender.settings) > 1 else np.nan
        best = max(contender.settings, key=lambda g: (np.nan_to_num(trials[str(g)]), -contender.settings.index(g)))
        tried = {name: value for name, value in trials.items() if not np.isnan(value)}
        tuned.append(Tuned(contender.name, best, tried))
    return tuned


def _trial(generator: Generator, weeks: Sequence[Week], kept: Path, key: str) -> float:
    cutoffs = ",".join(f"{week.cutoff.isoformat()} {len(week.users)}{'' if week.repeats else ' new'}" for week in weeks)
    name = hashlib.sha256(f"{key} {generator} {cutoffs}".encode()).hexdigest()[:16]
    path = kept / f"trial-{name}.json"
    if path.is_file():
        return float(json.loads(path.read_text())["ndcg@10"])
    found = [measured(by_generator(generator, week), week)[0]["ndcg@10"] for week in weeks]
    value = float(np.concatenate(found).mean())
    write_json(path, {"settings": str(generator), "cutoffs": cutoffs, "ndcg@10": value})
    return value
