"""Cold start of households: those nobody has seen, by their traits and the moment they come, and those of few trips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from training.ranking.cold_figures import SIZE, Tally, judged, slates_of
from training.ranking.contenders import SOURCES
from training.ranking.slate import Week
from training.retrieval.content import Content
from training.retrieval.frequency import PersonalFrequency
from training.retrieval.fused import Fused
from training.retrieval.generator import Generator
from training.retrieval.log import F64, I32, I64, PurchaseLog
from training.retrieval.neighbours import ItemKnn, basket_ages
from training.retrieval.popularity import Popularity
from training.retrieval.traits import TraitPopularity, Traits

Stage = Callable[[str], None]
Bools = npt.NDArray[np.bool_]
EVERYBODY = "global popularity, 28 days"
PERSONAL = "personal frequency"
BLEND = "blend of all sources"
WHOLE = "whole"
"""Name of the run in which nothing is hidden."""

BY_HISTORY: dict[str, Generator] = {
    EVERYBODY: Popularity(),
    PERSONAL: PersonalFrequency(),
    "item-KNN": ItemKnn(),
    "item-KNN, own items first": ItemKnn(neighbours=20, half_life=112, own=30.0),
    "content": Content(),
    BLEND: Fused("cold start", SOURCES),
}
"""Contenders for households of few trips."""
HOURS = (13.0, 18.0, 21.0)
"""When a part of the day begins after the first, UTC hours: those of the shop's data in which most is sold."""


def unknown_households(
    log: PurchaseLog, cutoffs: Sequence[datetime], parts: Sequence[Bools], traits: Traits, resamples: int, stage: Stage
) -> dict[str, Any]:
    """Households taken as if without history, those that told something of themselves: popularity by what they told.

    parts: bool (U,) each; the households of one are hidden while popularity is counted on the others.
    """
    contenders: dict[str, Generator] = {
        EVERYBODY: Popularity(),
        "global popularity, 7 days": Popularity(7),
        **{f"by {name.replace('_', ' ')}": TraitPopularity(traits.only(name)) for name in traits.names},
        **({"by all of these": TraitPopularity(traits)} if traits.names else {}),
    }
    tally = Tally()
    for cutoff in cutoffs:
        stage(f"unknown households at {cutoff:%Y-%m-%d}")
        week = Week.at(log, cutoff)
        for part in parts:
            users = week.users[part[week.users] & np.isin(week.users, traits.known)]
            if len(users):
                others = week.log.take(~part[week.log.users])
                slates = {name: slates_of(g.fit(others), users) for name, g in contenders.items()}
                tally.add(users, {name: judged(s, users, week.truth) for name, s in slates.items()})
    return tally.figures(resamples, EVERYBODY)


def few_trips(
    log: PurchaseLog, cutoffs: Sequence[datetime], part: Bools, trips: Sequence[int], resamples: int, stage: Stage
) -> dict[str, Any]:
    """Households of a part, bool (U,), with only their last baskets before the cutoff: figures by number of baskets.

    `whole` is of the same households with nothing hidden: what their history is worth.
    """
    found = {}
    for kept in (*trips, None):
        tally = Tally()
        for cutoff in cutoffs:
            stage(f"households of {kept or 'all their'} trips at {cutoff:%Y-%m-%d}")
            week = Week.at(log, cutoff)
            users = week.users[part[week.users]]
            if len(users):
                known = week.log if kept is None else last_baskets(week.log, part, kept)
                slates = {name: slates_of(g.fit(known), users) for name, g in BY_HISTORY.items()}
                tally.add(users, {name: judged(s, users, week.truth) for name, s in slates.items()})
        found[WHOLE if kept is None else str(kept)] = tally.figures(resamples, EVERYBODY)
    return found


def last_baskets(log: PurchaseLog, part: Bools, kept: int) -> PurchaseLog:
    """The log with only the last `kept` baskets of each user of the part, bool (U,), and all of the others'."""
    later, _ = basket_ages(log)
    return log.take(~part[log.users] | (later < kept))


def moments(
    log: PurchaseLog, cutoffs: Sequence[datetime], parts: Sequence[Bools], resamples: int, stage: Stage
) -> dict[str, Any]:
    """The first basket after the cutoff of households without history: what sold at such hours before it, or at all."""
    tally = Tally()
    for cutoff in cutoffs:
        stage(f"moments at {cutoff:%Y-%m-%d}")
        week = Week.at(log, cutoff)
        first = first_baskets(log, week)
        truth, codes = first.owned(), np.zeros(log.catalogue.shape[0], np.int64)
        codes[first.users] = moment_of(first.at)
        for part in parts:
            users = week.users[part[week.users]]
            if len(users):
                others = week.log.take(~part[week.log.users])
                everybody = np.repeat(_best_sold(others), len(users), axis=0)
                slates = {EVERYBODY: everybody, "of the same part of the week": _by_moment(others, codes[users])}
                tally.add(users, {name: judged(s, users, truth) for name, s in slates.items()})
    return tally.figures(resamples, EVERYBODY)


def first_baskets(log: PurchaseLog, week: Week) -> PurchaseLog:
    """Purchases of each user's first basket from the cutoff on, of the week's users."""
    after = log.take((log.at >= week.log.now) & np.isin(log.users, week.users))
    later, baskets = basket_ages(after)
    return after.take(later == baskets - 1)


def moment_of(at: F64) -> I64:
    """The part of the week of a time in days since 1970 UTC, (n,): of Saturday and Sunday or not, and of the day."""
    weekend = (np.floor(at).astype(np.int64) + 3) % 7 >= 5  # 1970 began on a Thursday
    day: I64 = np.digitize(at % 1 * 24, HOURS).astype(np.int64)
    return day + (len(HOURS) + 1) * weekend


def _by_moment(log: PurchaseLog, codes: I64) -> I32:
    """What sold best at moments of each code, (n,)."""
    slates = np.zeros((len(codes), SIZE), np.int32)
    for code in np.unique(codes):
        slates[codes == code] = _best_sold(log.take(moment_of(log.at) == code))
    return slates


def _best_sold(log: PurchaseLog) -> I32:
    """What sold best in 28 days, (1, 20)."""
    return slates_of(Popularity().fit(log), np.zeros(1, np.int64))
