"""Generators on a small shop: they see the past alone, and propose what they say."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tests.world import events, write_world
from training.retrieval.blend import fit_blend
from training.retrieval.content import CategoryPopularity, Content
from training.retrieval.factors import Ease, ImplicitAls
from training.retrieval.frequency import PersonalFrequency
from training.retrieval.generator import Generator, top
from training.retrieval.log import PurchaseLog, read_log
from training.retrieval.neighbours import Association, ItemKnn, TifuKnn, UpCf, basket_ages
from training.retrieval.popularity import Popularity, SegmentPopularity
from training.retrieval.repeat import RepeatPurchase

CUTOFF = datetime(2024, 5, 6)
EVERY: list[Generator] = [
    RepeatPurchase(), PersonalFrequency(84.0), TifuKnn(neighbours=10), UpCf(), ItemKnn(neighbours=10), Association(),
    ImplicitAls(factors=8), Ease(items=100), Content(), CategoryPopularity(), SegmentPopularity(4), Popularity(),
]  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PurchaseLog:
    return read_log(write_world(Path(tmp_path_factory.mktemp("shop")), events()))


@pytest.mark.parametrize("generator", EVERY, ids=lambda generator: generator.source)
def test_what_happens_after_the_cutoff_changes_no_score(generator: Generator, log: PurchaseLog) -> None:
    users = np.arange(5)
    now = log.before(CUTOFF).now
    scores = generator.fit(log.before(CUTOFF)).score(users)
    later = replace(log, items=np.where(log.at >= now, log.items[::-1], log.items))
    assert scores.shape == (5, log.catalogue.shape[1])
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(generator.fit(later.before(CUTOFF)).score(users), scores, rtol=1e-5, atol=1e-7)


def test_the_log_holds_purchases_before_the_cutoff_and_truth_those_of_the_week(log: PurchaseLog) -> None:
    past = log.before(CUTOFF)
    assert past.age.min() > 0
    week = log.truth(CUTOFF, datetime(2024, 5, 13) - CUTOFF)
    inside = (log.at >= past.now) & (log.at < past.now + 7)
    expected = {(int(u), int(i)) for u, i in zip(log.users[inside], log.items[inside], strict=True)}
    assert set(zip(*(a.tolist() for a in week.nonzero()), strict=True)) == expected


def test_personal_frequency_puts_first_what_was_bought_most(log: PurchaseLog) -> None:
    past = log.before(CUTOFF)
    best = top(PersonalFrequency().fit(past).score(np.array([3])), 1)[0, 0]
    assert past.matrix()[3, best] == past.matrix()[3].max()


def test_the_last_basket_has_none_after_it(log: PurchaseLog) -> None:
    after, baskets = basket_ages(log)
    mine = log.users == 0
    last = mine & (log.baskets == log.baskets[np.flatnonzero(mine)[log.at[mine].argmax()]])
    assert (after[last] == 0).all()
    assert after[mine].max() == baskets[mine][0] - 1


def test_content_proposes_a_product_that_nobody_bought_yet(log: PurchaseLog) -> None:
    past = log.before(CUTOFF)
    unsold = int(past.items[0])
    without = past.take(past.items != unsold)
    assert (Content().fit(without).score(np.arange(20))[:, unsold] > 0).any()


def test_a_purchase_is_due_its_mean_gap_after_the_last(log: PurchaseLog) -> None:
    past = log.before(CUTOFF)
    due = RepeatPurchase().fit(past).due_days
    user, item = (int(a[0]) for a in (past.matrix() > 2).nonzero())
    at = past.at[(past.users == user) & (past.items == item)]
    assert due[user, item] == pytest.approx(np.diff(at).mean() - (past.now - at[-1]), abs=1e-3)


def test_top_is_best_first_and_keeps_the_order_of_equals() -> None:
    scores = np.array([[0, 3, 0, 5, 3]], np.float32)
    assert top(scores, 4).tolist() == [[3, 1, 4, 0]]


def test_blended_candidates_are_distinct_and_carry_what_each_source_says(log: PurchaseLog) -> None:
    past = log.before(CUTOFF)
    sources: list[Generator] = [PersonalFrequency(84.0), Popularity()]
    users = np.arange(10)
    found = fit_blend(past, sources, [1.0, 0.5]).candidates(users, 40)
    assert all(len(set(row)) == 40 for row in found.items.tolist())
    assert found.sources == ("frequency", "popularity")
    expected = np.take_along_axis(Popularity().fit(past).score(users), found.items, 1)
    np.testing.assert_array_equal(found.scores[..., 1], expected)
    first = top(Popularity().fit(past).score(users), 1)
    assert (found.ranks[..., 1][found.items == first] == 0).all()
