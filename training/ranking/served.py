"""The slates that servers gave, judged as those of the ranking evaluation are, beside simple baselines.

Servers are asked by whoever calls: here are their answers, as ids of items, and what these are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from shoprank.errors import ShoprankError, UserError
from training.evaluate.slates import member
from training.ranking.contenders import BASELINES
from training.ranking.judge import Judge
from training.ranking.names import PERSONAL, POPULARITY, RECENT
from training.ranking.outcome import RESAMPLES, Households, compared, described, outcome
from training.ranking.slate import SIZE, Slates, Week, kept_by_generator
from training.ranking.tuning import Tuned, tune
from training.retrieval.log import I32, Catalogue, PurchaseLog
from training.schedule import HORIZON, monday

Stage = Callable[[str], None]
BESIDE = (POPULARITY, PERSONAL, RECENT)
"""The baselines, by name."""
SHARES = {"whole": "recall", "repeats": "of_repeats", "new": "of_new"}
"""What the results call the metrics of candidates."""
NOTHING = -1
"""Stands in a place that no item has."""


@dataclass(frozen=True)
class Answers:
    """Item ids that a server showed each of n households, best first: whole slates, those without what it has, and as
    many as there are candidates."""

    items: Sequence[Sequence[str]]
    explore: Sequence[Sequence[str]]
    candidates: Sequence[Sequence[str]]


def week_of(log: PurchaseLog, cutoff: datetime) -> Week:
    """The week that begins at the cutoff (naive UTC), of all purchases.

    Raises UserError where no snapshot is made for that moment, or the week is not over.
    """
    if cutoff != monday(cutoff):
        raise UserError(f"cutoff {cutoff}: is not midnight of a Monday, as the snapshots that are served are")
    if log.at.max() < log.before(cutoff).now + HORIZON.days:
        raise UserError(f"cutoff {cutoff}: the events end before the 7 days after it are over")
    return Week.at(log, cutoff)


def slates_of(answers: Answers, places: Mapping[str, int]) -> Slates:
    """The answers as slates of positions in the catalogue (`places_of`); places of an explore slate that nothing took
    hold −1.

    Raises ShoprankError where a whole slate is short or an item is none of the catalogue.
    """
    items, explore = (_positions(shown, places, SIZE) for shown in (answers.items, answers.explore))
    if (items == NOTHING).any():
        raise ShoprankError(f"the server gave {(items == NOTHING).any(1).sum()} slates of fewer than {SIZE} items")
    return Slates(items, explore, 0.0, 0.0)


def judged(
    week: Week,
    log: PurchaseLog,
    served: Mapping[str, Answers],
    kept: Path,
    key: str,
    stage: Stage = lambda name: None,
) -> dict[str, Any]:
    """Figures of the served slates and of the baselines, and those served first less each, as JSON.

    served: what servers answered, by the name of each. log: all purchases; baselines are tuned on the week before the
    cutoff. kept, key: where their slates and trials are kept, and by what data.
    """
    places = places_of(log.catalogue)
    ours, *_ = slates = {name: slates_of(answers, places) for name, answers in served.items()}
    chosen = [contender for contender in BASELINES if contender.name in BESIDE]
    tuned = tune(chosen, [Week.at(log, week.cutoff - HORIZON)], kept, key, stage)
    outcomes = {name: outcome([shown], [week]) for name, shown in slates.items()}
    for baseline in tuned:
        stage(baseline.name)
        outcomes[baseline.name] = outcome([kept_by_generator(baseline.generator, week, kept, key)], [week])
    stage("resampling households")
    households = Households.of([week])
    return {
        "protocol": _protocol(week, slates[ours]),
        "tuning": {t.name: _settings(t) for t in tuned},
        "champion": ours,
        "contenders": {name: _figures(described(found, households)) for name, found in outcomes.items()},
        "comparisons": {
            name: compared(outcomes[ours], other, households) for name, other in outcomes.items() if name != ours
        },
        "candidates": _recalls(week, served, places),
    }


def _recalls(week: Week, served: Mapping[str, Answers], places: Mapping[str, int]) -> dict[str, Any]:
    """Mean shares of what was bought among each server's candidates with their intervals, and those less the first
    one's, as JSON."""
    judge = Judge.of(week, RESAMPLES)
    found = {}
    for server, answers in served.items():
        most = max((len(shown) for shown in answers.candidates), default=0)
        found[server] = judge.recalls(_positions(answers.candidates, places, most))
    first = next(iter(found.values()))
    return {
        server: {SHARES[metric]: share for metric, share in judge.described(recalls, first).items()}
        for server, recalls in found.items()
    }


def places_of(catalogue: Catalogue) -> dict[str, int]:
    """The position of each item in the catalogue, by its id."""
    return {item: at for at, item in enumerate(catalogue.item_ids.tolist())}


def _positions(shown: Sequence[Sequence[str]], places: Mapping[str, int], length: int) -> I32:
    table = np.full((len(shown), length), NOTHING, np.int32)
    for row, ids in zip(table, shown, strict=True):
        if unknown := [item for item in ids if item not in places]:
            raise ShoprankError(f"the server showed items that the catalogue lacks: {', '.join(unknown[:3])}")
        row[: len(ids)] = [places[item] for item in ids]
    return table


def _protocol(week: Week, served: Slates) -> dict[str, Any]:
    return {
        "cutoff": f"{week.cutoff:%Y-%m-%d}",
        "horizon_days": HORIZON.days,
        "tuned_on": f"{week.cutoff - HORIZON:%Y-%m-%d}",
        "households": len(week.users),
        "explore_households": int((np.diff(week.new.indptr)[week.users] > 0).sum()),
        "resamples": RESAMPLES,
        "top_k": SIZE,
        "explore_places_owned": int(member(week.users, served.explore, week.owned).sum()),
        "explore_places_empty": int((served.explore == NOTHING).sum()),
    }


def _settings(tuned: Tuned) -> dict[str, Any]:
    return {"chosen": str(tuned.generator), "trials": tuned.trials}


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    """Without the seconds, which say nothing here: a server's time is measured by `make bench-recommend`."""
    return {name: value for name, value in found.items() if name != "seconds"}
