"""Sales expected in the week to come, with and without a plan of promotions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tests.world import events, write_world
from training.retrieval.frequency import PersonalFrequency
from training.retrieval.log import PurchaseLog, read_log
from training.retrieval.plan import Plan
from training.retrieval.promotion import LEAST, ExpectedSales, Weighted, expected_sales

CUTOFF = datetime(2024, 5, 6)
ITEMS = 150


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PurchaseLog:
    return read_log(write_world(Path(tmp_path_factory.mktemp("shop")), events())).before(CUTOFF)


def planned(*weeks: tuple[int, float, float]) -> Plan:
    """Advertised in every shop: item, first and last day."""
    items, starts, ends = (np.array(column) for column in zip(*weeks, strict=True))
    ones = np.ones(len(weeks), np.float32)
    return Plan(items.astype(np.int32), starts, ends, 0 * ones, ones, 0 * ones)


def test_without_a_plan_the_best_sold_of_late_are_expected_to_sell_best(log: PurchaseLog) -> None:
    expected = expected_sales(log)
    assert np.corrcoef(expected, log.popularity(56))[0, 1] > 0.95
    assert expected.sum() == pytest.approx(len(log.recent(56)) / 8, rel=0.2)


def test_advertised_items_that_sold_more_are_expected_to_sell_more(log: PurchaseLog) -> None:
    item = int(np.argsort(log.popularity(56))[-20])
    weeks = [log.now - 7 * n for n in range(1, 9)]
    boosted = weeks[::2]
    inside = np.concatenate([np.flatnonzero((log.items == item) & (log.at >= s) & (log.at < s + 7)) for s in boosted])
    more = np.concatenate([np.arange(len(log)), np.repeat(inside, 3)])
    more = more[np.argsort(log.at[more], kind="stable")]
    sold = replace(log, users=log.users[more], items=log.items[more], baskets=log.baskets[more], at=log.at[more])
    past = [(item, start, start + 7) for start in boosted]
    plain = replace(sold, plan=planned(*past))
    coming = replace(sold, plan=planned(*past, (item, log.now, log.now + 7)))
    assert expected_sales(coming)[item] > 2 * expected_sales(plain)[item]
    others = np.arange(ITEMS) != item
    np.testing.assert_allclose(expected_sales(coming)[others], expected_sales(plain)[others])


def test_a_plan_beyond_the_coming_week_changes_nothing(log: PurchaseLog) -> None:
    past = (3, log.now - 7, log.now)
    now = replace(log, plan=planned(past))
    later = replace(log, plan=planned(past, (5, log.now + 7, log.now + 14)))
    np.testing.assert_array_equal(expected_sales(later), expected_sales(now))


def test_a_generators_scores_are_weighted_by_expected_sales(log: PurchaseLog) -> None:
    users = np.arange(3)
    plain = PersonalFrequency().fit(log).score(users)
    weighted = Weighted(PersonalFrequency(), 0.5).fit(log).score(users)
    np.testing.assert_allclose(weighted, plain * np.sqrt(expected_sales(log) + LEAST), rtol=1e-5)
    assert Weighted(PersonalFrequency()).source == PersonalFrequency().source


def test_everybody_has_the_same_expected_sales(log: PurchaseLog) -> None:
    scores = ExpectedSales().fit(log).score(np.array([0, 7]))
    assert scores.shape == (2, ITEMS)
    np.testing.assert_array_equal(scores[0], scores[1])
