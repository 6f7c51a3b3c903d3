"""The first layer, compiled, is that of the training's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo.schema import NUMERIC, OF_AGE
from feature_repo.transforms import I64, Affinities
from server.items import Found, Shelf
from server.shares import F32, Ages, ItemShares, activate
from training.towers import first_layer

HIDDEN, ITEMS = 24, 50
RNG = np.random.default_rng(0)
SHAPE = np.array([[-3, -2], [0.3, 0.5], [0, 0.5], [0.4, 0.1], [0.01, 0.7]], np.float32)
"""The second age has values on both sides of zero; the first one's deviation is small, so that clipping shows."""


def normal(*shape: int) -> F32:
    return RNG.normal(size=shape).astype(np.float32)


def ages_of(count: int) -> F32:
    """Ages of both signs, some missing."""
    ages = 20 * normal(2, count)
    ages[RNG.random(ages.shape) < 0.3] = np.nan
    return ages


def expected(shares: F32, ages: F32, kernel: F32) -> F32:
    numeric = np.zeros((len(shares), len(NUMERIC)), np.float32)
    numeric[:, OF_AGE.numeric] = ages.T
    return first_layer(shares, numeric, SHAPE, kernel)


def test_ages_are_added_and_negative_answers_cut() -> None:
    shares, ages, kernel = normal(ITEMS, HIDDEN), ages_of(ITEMS), normal(4, HIDDEN)
    got = shares.copy()
    activate(got, ages, SHAPE, kernel)
    assert (got == 0).any()
    assert (got > 0).any()
    np.testing.assert_allclose(got, expected(shares, ages, kernel), atol=1e-5)


def test_shares_of_many_items_are_computed_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one run of the graph needs, ONNX Runtime keeps for good."""
    monkeypatch.setattr("server.shares.ROWS_A_RUN", 20)
    of_items, runs = normal(ITEMS, HIDDEN), []

    def of_rows(numbers: F32, keys: I64) -> F32:
        runs.append(len(numbers))
        found: F32 = of_items[numbers[:, 0].astype(int)]
        return found

    shelf = Shelf.empty(ITEMS, 0)
    shelf.rows.numbers[:, 0] = np.arange(ITEMS)
    kept = ItemShares(of_rows, Ages(SHAPE, normal(4, HIDDEN))).prepare(Found(shelf, RNG.permutation(ITEMS), []))
    assert np.array_equal(kept.values, of_items)
    assert runs == [20, 20, 10]


def test_shares_of_all_kinds_are_added_up() -> None:
    kernel, of_items, ages = normal(4, HIDDEN), normal(ITEMS, HIDDEN), ages_of(ITEMS)
    shelf = Shelf.empty(ITEMS, 0)
    shelf.rows.numbers[:, 0] = np.arange(ITEMS)
    shares = ItemShares(lambda numbers, keys: of_items[numbers[:, 0].astype(int)], Ages(SHAPE, kernel))
    positions = RNG.permutation(ITEMS).astype(np.int64)
    ends, user = [20, 20, ITEMS], np.repeat([0, 2], [20, ITEMS - 20])  # the second user has no items
    rows = RNG.integers(0, 3, (ITEMS, 3)).astype(np.int32)
    nothing = np.zeros((1, 1, 1), np.float32)
    found = Affinities(nothing, nothing, rows, np.zeros((3, 3), np.float32), ages)
    of_users, levels = normal(3, HIDDEN), (normal(1, 3, HIDDEN), normal(2, 3, HIDDEN))
    got = np.empty((ITEMS, HIDDEN), np.float32)
    shares.add(shelf, positions, ends, of_users, levels, found, got)
    of_levels = levels[0][0, rows[:, 0]] + levels[1][0, rows[:, 1]] + levels[1][1, rows[:, 2]]
    want = expected(of_items[positions] + of_users[user] + of_levels, ages, kernel)
    np.testing.assert_allclose(got, want, atol=1e-5)
