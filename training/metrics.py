"""How good a model's scores are: on the natural set, and on a class-balanced resample of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn import metrics

F64 = npt.NDArray[np.float64]
Array = npt.NDArray[np.floating]


def natural_weight(label: Array, offset: Array, weight: Array) -> F64:
    """Weight (n,) of each sampled row in the population: a negative counts exp(offset), the inverse of its
    keep rate.
    """
    result: F64 = np.where(label > 0, 1.0, np.exp(np.asarray(offset, np.float64))) * weight
    return result


def calibration_error(label: Array, probability: Array, weight: Array | None = None, bins: int = 20) -> float:
    """Mean |mean probability − mean label| over `bins` bins of equal mass by probability."""
    w = np.ones(len(label)) if weight is None else np.asarray(weight, np.float64)
    order = np.argsort(probability, kind="stable")
    y, p, w = np.asarray(label, np.float64)[order], np.asarray(probability, np.float64)[order], w[order]
    middle = (np.cumsum(w) - w / 2) / w.sum()
    index = np.minimum((middle * bins).astype(int), bins - 1)
    gap = np.bincount(index, w * (p - y), bins)
    return float(np.abs(gap).sum() / w.sum())


def discrimination(label: Array, logit: Array, weight: Array | None = None) -> dict[str, float]:
    """ROC AUC, PR AUC (average precision), log loss, calibration error, accuracy at 0.5 of log-odds (n,)."""
    probability = expit(np.asarray(logit, np.float64))
    return {
        "roc_auc": float(metrics.roc_auc_score(label, logit, sample_weight=weight)),
        "pr_auc": float(metrics.average_precision_score(label, logit, sample_weight=weight)),
        "log_loss": float(metrics.log_loss(label, probability, sample_weight=weight)),
        "calibration_error": calibration_error(label, probability, weight),
        "accuracy": float(metrics.accuracy_score(label, probability > 0.5, sample_weight=weight)),
    }


def balanced(label: Array, logit: Array, weight: Array | None, rng: np.random.Generator) -> tuple[Array, F64]:
    """A class-balanced resample: labels and re-based log-odds, both (2·m,), m the size of the smaller class.

    All rows of the smaller class and as many of the other, drawn without replacement with chances in
    proportion to weight. The log-odds are re-based from the natural base rate π to one half by −log(π / (1 −
    π)), so that 0.5 is the decision threshold of a calibrated model there.
    """
    w = np.ones(len(label)) if weight is None else np.asarray(weight, np.float64)
    rows = [np.flatnonzero(label <= 0), np.flatnonzero(label > 0)]
    size = min(len(r) for r in rows)
    chosen = np.concatenate([rng.choice(r, size, replace=False, p=w[r] / w[r].sum()) for r in rows])
    prior = np.log(w[rows[1]].sum() / w[rows[0]].sum())
    return np.asarray(label)[chosen], np.asarray(logit, np.float64)[chosen] - prior


def evaluate(label: Array, logit: Array, weight: Array | None, seed: int) -> dict[str, float]:
    """All metrics of log-odds (n,) against labels 0/1 (n,) of both classes.

    Plain names are on the natural set, `balanced_*` on the seeded class-balanced resample of `balanced`.
    """
    w = np.ones(len(label)) if weight is None else weight
    even_label, even_logit = balanced(label, logit, weight, np.random.default_rng(seed))
    return {
        "rows": float(len(label)),
        "positives": float((label > 0).sum()),
        "base_rate": float(np.average(label, weights=w)),
        **discrimination(label, logit, weight),
        **{f"balanced_{name}": value for name, value in discrimination(even_label, even_logit).items()},
        "balanced_rows": float(len(even_label)),
    }


def best_f1_threshold(label: Array, logit: Array, weight: Array | None = None) -> float:
    """The probability at or above which calling a row positive gives the highest F1."""
    precision, recall, at = metrics.precision_recall_curve(label, expit(logit), sample_weight=weight)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(at[np.argmax(f1[:-1])])
