"""Metrics by household, their intervals, and the weeks they are measured on."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
import scipy.sparse as sp

from shoprank.errors import UserError
from training.evaluate.bootstrap import resample
from training.evaluate.ranking import ranking_metrics
from training.evaluate.slates import accuracy, beyond_accuracy, member
from training.ranking.weeks import Weeks

RNG = np.random.default_rng(0)


def test_means_are_those_of_the_evaluation_of_one_model() -> None:
    truth = sp.csr_matrix(RNG.random((30, 80)) < 0.1).astype(np.float32)
    wanted = np.diff(truth.indptr)
    items = np.array([RNG.permutation(80)[:20] for _ in range(30)], np.int32)
    found = accuracy(member(np.arange(30), items, truth), wanted)
    top = {str(u): items[u].astype(str) for u in range(30)}
    bought = {str(u): frozenset(truth[u].indices.astype(str)) for u in range(30)}
    expected = ranking_metrics(top, bought)
    for name, value in expected.items():
        assert found[name].mean() == pytest.approx(value)


def test_the_first_hit_decides_mrr_and_hit_rate() -> None:
    hits = np.zeros((2, 20), np.bool_)
    hits[0, 3] = True
    found = accuracy(hits, np.array([5, 5]))
    assert found["mrr@10"].tolist() == [0.25, 0.0]
    assert found["hit_rate@10"].tolist() == [1.0, 0.0]


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    covered = 0
    for n in range(100):
        values = np.random.default_rng(n).normal(0, 1, 200)
        low, high = resample(np.arange(200), 400, n).interval(values)
        covered += low <= 0 <= high
    assert 85 <= covered <= 100


def test_rows_of_a_household_are_drawn_together() -> None:
    users = np.repeat(np.arange(50), 4)
    values = np.repeat(np.random.default_rng(1).normal(0, 1, 50), 4)
    low, high = resample(users, 2_000, 0).interval(values)
    naive_low, naive_high = resample(np.arange(200), 2_000, 0).interval(values)
    assert high - low > 1.5 * (naive_high - naive_low)


def test_slates_of_one_category_are_not_diverse_and_repeats_and_explorations_add_up() -> None:
    slates = np.array([[0, 1], [2, 3]], np.int32)
    repeats = np.array([[True, False], [True, True]])
    found = beyond_accuracy(slates, repeats, np.array([4.0, 2, 1, 1]), np.array([0, 0, 1, 2], np.int32), 8)
    assert found["diversity"] == pytest.approx(0.5)
    assert (found["coverage"], found["repeat_share"], found["explore_share"]) == (0.5, 0.75, 0.25)


def test_a_validation_week_that_reaches_into_test_is_refused() -> None:
    with pytest.raises(UserError, match="beyond test"):
        Weeks((datetime(2024, 1, 1),), (datetime(2024, 1, 10),), (datetime(2024, 1, 15),))
    weeks = Weeks.before((datetime(2024, 3, 4), datetime(2024, 4, 1)), train=2, validation=1)
    assert weeks.validation == (datetime(2024, 2, 26),)
    assert weeks.train == (datetime(2024, 2, 12), datetime(2024, 2, 19))
