"""Cold start, measured apart: households nobody has seen, those of few trips, and items that are new.

Almost no household of the data is new in the test weeks, so that some are made so: all of their history is hidden, or
all but their last baskets, and everything is fitted on the whole histories of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.paths import DataPaths, write_json
from training.ranking.cold_figures import RESAMPLES
from training.ranking.cold_items import DAYS, new_items
from training.ranking.cold_users import few_trips, moments, unknown_households
from training.ranking.protocol import TEST
from training.retrieval.log import I64, PurchaseLog, read_log
from training.retrieval.traits import Traits, read_traits
from training.schedule import HORIZON

Stage = Callable[[str], None]
PARTS = 3
TRIPS = (1, 2, 3)


@dataclass(frozen=True)
class Hidden:
    """Which part of the households each is in, int (U,), drawn by a seed: one part is hidden from the others."""

    part: I64
    parts: int = PARTS

    @classmethod
    def drawn(cls, users: int, seed: int, parts: int = PARTS) -> Hidden:
        """As many in each part as in any other, but for one."""
        return cls(np.random.default_rng(seed).permutation(users) % parts, parts)


def cold_start(
    log: PurchaseLog,
    cutoffs: Sequence[datetime],
    traits: Traits,
    seed: int = 0,
    resamples: int = RESAMPLES,
    stage: Stage = lambda name: None,
) -> dict[str, Any]:
    """What is measured at the cutoffs (naive UTC), as JSON: the protocol, and each of the three with its contenders.

    log: every purchase, those after the cutoffs too. traits: what is told of each user.
    """
    hidden = Hidden.drawn(log.catalogue.shape[0], seed)
    parts = [hidden.part == n for n in range(hidden.parts)]
    return {
        "protocol": {
            "cutoffs": [f"{cutoff:%Y-%m-%d}" for cutoff in cutoffs],
            "horizon_days": HORIZON.days,
            "households": len(np.unique(log.users)),
            "with_traits": len(traits.known),
            "parts": hidden.parts,
            "new_days": DAYS,
            "resamples": resamples,
            "seed": seed,
        },
        "unknown": unknown_households(log, cutoffs, parts, traits, resamples, stage),
        "moments": moments(log, cutoffs, parts, resamples, stage),
        "trips": few_trips(log, cutoffs, parts[0], TRIPS, resamples, stage),
        "items": new_items(log, cutoffs, resamples, stage),
    }


def evaluate_cold_start(
    paths: DataPaths, out: Path, cutoffs: Sequence[datetime] = TEST, stage: Stage = lambda name: None
) -> dict[str, Any]:
    """Write `cold-start.json` into the folder `out` and return what it holds."""
    log = read_log(paths)
    result = cold_start(log, cutoffs, read_traits(paths, log.catalogue.user_ids.tolist()), stage=stage)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "cold-start.json", result)
    return result
