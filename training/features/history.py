"""A user's affinity with items, categories and subcategories: one array a column, an entry each, keys ascending."""

from __future__ import annotations

from functools import reduce

import ibis
from ibis.expr.types import Table

from feature_repo.schema import (
    AFFINITY_KEYS,
    AFFINITY_NUMBERS,
    AFFINITY_TIMES,
    HALF_LIFE_DAYS,
    LEVELS,
    affinity_column,
)
from training.features.inputs import INTEREST, Inputs

HISTORY_LIMIT = 2_048
"""Entries kept for a user and level: those touched last. The longest history of the packaged data has 2,151 items."""


def user_history(inputs: Inputs, limit: int = HISTORY_LIMIT) -> Table:
    """Columns user_id and AFFINITY_COLUMNS for every user with an event before the cutoff."""
    levels = [_level_history(inputs, level, limit) for level in LEVELS]
    return reduce(lambda left, right: left.outer_join(right, "user_id").drop("user_id_right"), levels)


def _level_history(inputs: Inputs, level: str, limit: int) -> Table:
    entries = _entries(inputs, level)
    newest = ibis.window(group_by="user_id", order_by=[ibis.desc("touched_at"), ibis.asc("key")])
    entries = entries.mutate(place=ibis.row_number().over(newest))
    entries = entries.filter(entries.place < limit)
    arrays = {affinity_column(level, AFFINITY_KEYS): entries.key.collect(order_by=entries.key)}
    for feature in (*AFFINITY_TIMES, *AFFINITY_NUMBERS):
        arrays[affinity_column(level, feature)] = entries[feature.name].collect(order_by=entries.key)
    return entries.group_by("user_id").agg(**arrays)


def _entries(inputs: Inputs, level: str) -> Table:
    """One row a user and thing, with the affinity's columns and when it was touched last."""
    events = inputs.events.mutate(key=inputs.events[f"{level}_key"])
    events = events.filter((events.key != 0) & events.event_type.isin(("purchase", *INTEREST)))
    bought = events.event_type == "purchase"
    looked = events.event_type.isin(INTEREST)
    return events.group_by("user_id", "key").agg(
        touched_at=events["at"].max(),
        first_at=events["at"].min(where=bought).fill_null(0),
        last_at=events["at"].max(where=bought).fill_null(0),
        purchases=bought.sum().cast("float32"),
        recent=inputs.decayed(events["at"], HALF_LIFE_DAYS["recent"], bought),
        steady=inputs.decayed(events["at"], HALF_LIFE_DAYS["steady"], bought),
        interest=inputs.decayed(events["at"], HALF_LIFE_DAYS["interest"], looked),
    )
