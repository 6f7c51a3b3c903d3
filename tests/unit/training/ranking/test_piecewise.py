"""Piecewise-linear encoding: equal mass in the bins, the same in NumPy and in Keras, and thresholds are learned."""

from __future__ import annotations

import numpy as np

from training.encoding import fit_normalization
from training.model import Normalize
from training.ranking.piecewise import Bins, Piecewise

RNG = np.random.default_rng(0)


def test_a_value_fills_the_bins_below_it() -> None:
    sample = np.linspace(0, 8, 801, dtype=np.float32)[:, None]
    bins = Bins.of(sample, 4, np.array([True]))
    found = bins.apply(np.array([[-1], [0], [3], [8], [99], [np.nan]], np.float32))
    expected = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 0.5, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_columns_of_one_value_columns_left_out_and_empty_ones_have_no_bins() -> None:
    sample = np.column_stack(
        [np.full(100, 3.0), RNG.normal(0, 1, 100), np.full(100, np.nan), RNG.integers(0, 2, 100), np.arange(100)]
    ).astype(np.float32)
    bins = Bins.of(sample, 8, np.array([True, True, True, True, False]))
    assert np.bincount(bins.column, minlength=5).tolist() == [0, 8, 0, 1, 0]


def test_the_layer_is_the_normalization_with_the_bins_to_its_right() -> None:
    sample = RNG.lognormal(0, 2, (500, 3)).astype(np.float32)
    sample[::7, 1] = np.nan
    normalization, bins = fit_normalization(sample), Bins.of(sample, 8, np.ones(3, np.bool_))
    found = Piecewise(bins, Normalize(normalization))(sample).numpy()
    expected = np.concatenate([normalization.apply(sample), bins.apply(sample)], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-5)
