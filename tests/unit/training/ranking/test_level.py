"""The level of weeks: what is known before a cutoff moves log-odds, and nothing after it does."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from training.dataset.labels import epoch
from training.ranking.level import forecast_errors, level, level_shift
from training.retrieval.log import DAY, Catalogue, PurchaseLog

CUTOFF = datetime(2024, 3, 4)
USERS, ITEMS = 10, 40


def log(bought: dict[int, int]) -> PurchaseLog:
    """Every user buys `bought[w]` items in the week that begins w weeks after the cutoff."""
    catalogue = Catalogue(
        np.array([str(u) for u in range(USERS)], object),
        np.array([str(i) for i in range(ITEMS)], object),
        np.arange(ITEMS),
        {},
    )
    rows = [
        (user, item, epoch(CUTOFF + timedelta(weeks=week, days=1)) / DAY)
        for week, count in sorted(bought.items())
        for user in range(USERS)
        for item in range(count)
    ]
    users, items, at = (np.array(column) for column in zip(*rows, strict=True))
    made = users.astype(np.int32), items.astype(np.int32)
    return PurchaseLog(catalogue, *made, np.arange(len(at), dtype=np.int32), at.astype(np.float64), float(at.max()) + 1)


def test_a_busy_week_of_calibration_is_taken_back() -> None:
    bought = {-6: 1, -5: 8, -4: 4, -3: 4, -2: 4, -1: 4, 0: 20}
    busy = CUTOFF - timedelta(weeks=5)
    assert level(log(bought), busy) == 8
    assert level_shift(log(bought), [busy], CUTOFF) == pytest.approx(np.log(0.5))


def test_what_is_bought_from_the_cutoff_on_is_not_looked_at() -> None:
    bought = {-6: 1, -5: 3, -4: 4, -3: 5, -2: 6, -1: 7}
    week = CUTOFF - timedelta(weeks=1)
    quiet, busy = log(bought | {0: 1}), log(bought | {0: 30})
    assert level_shift(quiet, [week], CUTOFF) == level_shift(busy, [week], CUTOFF) == pytest.approx(np.log(5.5 / 7))


def test_a_log_that_is_too_short_shifts_nothing() -> None:
    assert level_shift(log({-2: 3, -1: 4}), [CUTOFF - timedelta(weeks=1)], CUTOFF) == 0
    nobody = replace(log({-1: 1}), now=0.0)
    assert level(nobody, CUTOFF) == 0


def test_levels_that_take_turns_are_forecast_by_two_weeks_and_not_by_one() -> None:
    bought = {-9: 1} | {week: 4 if week % 2 else 6 for week in range(-8, 1)}
    errors = forecast_errors(log(bought), CUTOFF, judged=4, weeks=(1, 2))
    assert errors["1"] == pytest.approx(np.log(1.5))
    assert errors["2"] == pytest.approx((np.log(6 / 5) + np.log(5 / 4)) / 2)
