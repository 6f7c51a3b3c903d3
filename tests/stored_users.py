"""Rows of users as the online store has them, made up or of a log of purchases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from feature_repo.schema import key_of
from feature_repo.transforms import UserRow, user_row
from training.retrieval.log import PurchaseLog

CUTOFF = datetime(2024, 5, 6)
TIME = int(CUTOFF.replace(tzinfo=UTC).timestamp())
"""The moment all rows are as of."""
DAY = 86_400


def level(entries: dict[str, dict[str, float]], name: str) -> dict[str, Any]:
    """A level of a history, of the numbers of each thing."""
    found = sorted((key_of(thing), numbers) for thing, numbers in entries.items())
    arrays: dict[str, Any] = {f"user_{name}_keys": [key for key, _ in found]}
    for field in ("first_at", "last_at", "purchases", "recent", "steady", "interest"):
        arrays[f"user_{name}_{field}"] = [numbers.get(field, 0) for _, numbers in found]
    return arrays


def bought(item: str, count: float = 1, days: float = 3, looked_at: float = 0) -> dict[str, dict[str, float]]:
    at = TIME - days * DAY
    numbers = {"first_at": at - 20 * DAY, "last_at": at, "purchases": count, "recent": count, "steady": count}
    return {item: numbers | {"interest": looked_at}}


def user_of(items: dict[str, dict[str, float]], subcategories: dict[str, dict[str, float]] | None = None) -> UserRow:
    return user_row({"user_as_of": TIME, **level(items, "item"), **level(subcategories or {}, "subcategory")})


def rows_of(log: PurchaseLog, user: int) -> UserRow:
    """The row that the store has of a user of the log."""
    mine = log.take(log.users == user)
    weights = {"recent": mine.halved(14), "steady": mine.halved(56), "purchases": np.ones(len(mine))}
    items: dict[str, dict[str, float]] = {}
    subcategories: dict[str, dict[str, float]] = {}
    for i, item in enumerate(mine.items.tolist()):
        for things, name in (
            (items, str(log.catalogue.item_ids[item])),
            (subcategories, str(log.catalogue.content["subcategory"][item])),
        ):
            entry = things.setdefault(name, {"first_at": mine.at[i] * DAY, "last_at": 0.0})
            entry["last_at"] = mine.at[i] * DAY
            for field, values in weights.items():
                entry[field] = entry.get(field, 0.0) + float(values[i])
    return user_of(items, subcategories)
