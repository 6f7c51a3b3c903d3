"""Calibration of the model's log-odds, fitted on validation: Platt scaling, bent where that helps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

F64 = npt.NDArray[np.float64]
SEGMENTS = 8
SMALLEST_SLOPE = 0.05
WORTHWHILE = 1e-4
FIT_ROWS = 1_000_000


def _none() -> F64:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A strictly increasing map of log-odds: y = slope·z + intercept, then y + Σₖ bendsₖ·relu(y − knotsₖ).

    knots, bends: float64 (k,), empty for pure Platt scaling (Platt, Probabilistic Outputs for Support Vector
    Machines, 1999). Increasing, so rankings and ROC AUC are those of the raw log-odds.
    """

    slope: float = 1.0
    intercept: float = 0.0
    knots: F64 = field(default_factory=_none)
    bends: F64 = field(default_factory=_none)

    def apply(self, z: npt.NDArray[np.floating]) -> F64:
        """Calibrated log-odds of raw log-odds z (n,)."""
        straight = self.slope * np.asarray(z, np.float64) + self.intercept
        y: F64 = straight.copy()
        for knot, bend in zip(self.knots, self.bends, strict=True):
            y += bend * np.maximum(straight - knot, 0)
        return y


def fit_calibration(
    z: npt.NDArray[np.floating],
    label: npt.NDArray[np.floating],
    offset: npt.NDArray[np.floating],
    weight: npt.NDArray[np.floating],
    rng: np.random.Generator,
) -> Calibration:
    """Fit on raw log-odds z (n,), labels 0/1 (n,), sampling offsets (n,) and weights (n,) of held-out rows.

    The likelihood is that of σ(calibrated z + offset), so the result holds in the unsampled population. The
    bent map is taken only where it lowers the log loss of rows it was not fitted on by a part in ten
    thousand; at most a million rows are used.
    """
    some = rng.permutation(len(z))[:FIT_ROWS]
    z, label, offset, weight = (np.asarray(a, np.float64)[some] for a in (z, label, offset, weight))
    platt = _platt(z, label, offset, weight)
    half = rng.random(len(z)) < 0.5
    gains = []
    for fitted in (half, ~half):
        rest = ~fitted
        if min(label[fitted].sum(), (1 - label[fitted]).sum()) < 100 or not rest.any():
            return platt
        straight = _platt(z[fitted], label[fitted], offset[fitted], weight[fitted])
        bent = _bend(straight, z[fitted], label[fitted], offset[fitted], weight[fitted])
        gains.append(
            _log_loss(straight.apply(z[rest]) + offset[rest], label[rest], weight[rest])
            / _log_loss(bent.apply(z[rest]) + offset[rest], label[rest], weight[rest])
            - 1
        )
    return _bend(platt, z, label, offset, weight) if min(gains) > WORTHWHILE else platt


def _log_loss(logit: F64, label: F64, weight: F64) -> float:
    return float(np.average(np.logaddexp(0, logit) - label * logit, weights=weight))


def _platt(z: F64, label: F64, offset: F64, weight: F64) -> Calibration:
    total = weight.sum()

    def objective(w: F64) -> tuple[float, F64]:
        slope = np.exp(w[0])
        logit = slope * z + w[1] + offset
        error = weight * (expit(logit) - label) / total
        loss = _log_loss(logit, label, weight) + 1e-6 * float(w @ w)
        return loss, np.array([slope * (error @ z), error.sum()]) + 2e-6 * w

    fit = minimize(objective, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-20, 20)])
    return Calibration(float(np.exp(fit.x[0])), float(fit.x[1]))


def _bend(platt: Calibration, z: F64, label: F64, offset: F64, weight: F64) -> Calibration:
    """Slopes of up to eight segments between quantiles of the positives' log-odds, each at least 0.05."""
    y = platt.apply(z)
    inner = np.linspace(0, 1, SEGMENTS + 1)[1:-1]
    knots = np.unique(np.quantile(y[label == 1], inner).round(3))
    hinges = np.maximum(y[:, None] - knots, 0)
    segments = np.column_stack([np.minimum(y, knots[0]), hinges[:, :-1] - hinges[:, 1:], hinges[:, -1]])
    total = weight.sum()

    def objective(w: F64) -> tuple[float, F64]:
        logit = segments @ w[1:] + w[0] + offset
        error = weight * (expit(logit) - label) / total
        pull = w - start
        return (
            _log_loss(logit, label, weight) + 1e-5 * float(pull @ pull),
            np.concatenate([[error.sum()], error @ segments]) + 2e-5 * pull,
        )

    # Segment k covers [knot k−1, knot k], so the sum of segments at slope one is y itself, less the first
    # knot of every hinge: with slopes of one the map is the identity.
    start = np.concatenate([[0.0], np.ones(segments.shape[1])])
    bounds = [(-20, 20)] + [(SMALLEST_SLOPE, 10)] * segments.shape[1]
    w = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    intercept, slopes = w[0], w[1:]
    # Fold the first segment's slope and the intercept back into the affine part, whose value the knots live
    # in.
    first = slopes[0]
    return Calibration(
        slope=float(platt.slope * first),
        intercept=float(platt.intercept * first + intercept),
        knots=knots * first + intercept,
        bends=np.diff(slopes) / first,
    )
