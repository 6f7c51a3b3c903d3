"""Calibration undoes what it should and never changes an order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from training.calibration import Calibration, fit_calibration


def draw(n: int = 40_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(-2, 1.5, n)
    return truth, (rng.random(n) < expit(truth)).astype(float)


def fit(z: np.ndarray, y: np.ndarray, offset: np.ndarray | None = None, seed: int = 0) -> Calibration:
    zeros = np.zeros(len(z))
    return fit_calibration(z, y, zeros if offset is None else offset, zeros + 1, np.random.default_rng(seed))


def test_overconfident_scores_are_pulled_back() -> None:
    truth, y = draw()
    calibration = fit(2 * truth + 1, y)
    assert np.abs(calibration.apply(2 * truth + 1) - truth).mean() < 0.1


def test_sampling_offset_is_not_learned_into_the_scores() -> None:
    truth, y = draw(200_000)
    kept = (y == 1) | (np.random.default_rng(1).random(len(y)) < 0.1)
    offset = np.full(kept.sum(), -np.log(0.1))
    calibrated = fit(truth[kept], y[kept], offset).apply(truth)
    assert expit(calibrated).mean() == pytest.approx(y.mean(), rel=0.03)


def test_straight_scores_need_no_bend() -> None:
    truth, y = draw()
    assert len(fit(truth, y).knots) == 0


def test_every_row_of_validation_counts() -> None:
    truth, y = draw(400_000)
    one, other = fit(truth, y), fit(truth[::-1], y[::-1])
    assert one.intercept == pytest.approx(other.intercept, abs=1e-4)


def test_bent_scores_are_bent_back() -> None:
    truth, y = draw()
    bent = np.where(truth < -2, truth, -2 + (truth + 2) * 4)
    calibration = fit(bent, y)
    assert len(calibration.knots)
    assert np.abs(calibration.apply(bent) - truth).mean() < 0.15


def test_scores_against_the_label_still_map_increasingly() -> None:
    truth, y = draw(5_000)
    calibration = fit(-truth, y)
    assert calibration.slope > 0


@pytest.mark.parametrize("rows", [1, 2, 150])
def test_few_rows_give_a_finite_map(rows: int) -> None:
    truth, y = draw(rows)
    assert np.isfinite(fit(truth, y).apply(truth)).all()


def bent_calibration(seed: int) -> Calibration:
    truth, y = draw(20_000, seed)
    return fit(np.where(truth < -2, truth, -2 + (truth + 2) * 4), y, seed=seed)


CALIBRATIONS = [bent_calibration(seed) for seed in range(4)]


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=50), st.sampled_from(CALIBRATIONS))
def test_map_is_strictly_increasing(points: list[float], calibration: Calibration) -> None:
    ordered = np.unique(np.round(points, 3))
    assert (np.diff(calibration.apply(ordered)) > 0).all()
