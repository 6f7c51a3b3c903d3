"""Metrics are those of the population, whatever was sampled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from training.metrics import balanced, best_f1_threshold, calibration_error, evaluate, natural_weight

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(-3, 1.5, 50_000)
LABEL = (RNG.random(len(TRUTH)) < expit(TRUTH)).astype(float)


def test_roc_auc_is_scikit_learns() -> None:
    assert evaluate(LABEL, TRUTH, None, 0)["roc_auc"] == pytest.approx(roc_auc_score(LABEL, TRUTH))


def test_sampled_negatives_weighted_back_give_the_natural_metrics() -> None:
    kept = (LABEL == 1) | (RNG.random(len(LABEL)) < 0.2)
    offset = np.full(kept.sum(), -np.log(0.2))
    weight = natural_weight(LABEL[kept], offset, np.ones(kept.sum()))
    sampled, whole = evaluate(LABEL[kept], TRUTH[kept], weight, 0), evaluate(LABEL, TRUTH, None, 0)
    for name in ("base_rate", "roc_auc", "pr_auc", "log_loss"):
        assert sampled[name] == pytest.approx(whole[name], rel=0.03), name


def test_calibration_error_of_true_probabilities_is_small() -> None:
    assert calibration_error(LABEL, expit(TRUTH)) < 0.005


def test_calibration_error_of_a_constant_shift_is_that_shift() -> None:
    label = np.array([0, 1] * 500)
    assert calibration_error(label, np.full(1000, 0.7)) == pytest.approx(0.2, abs=0.02)


def test_calibration_error_counts_weight_as_rows() -> None:
    label, probability = np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.5, 0.9])
    twice = calibration_error(label, probability, np.array([2.0, 2.0, 2.0]))
    assert twice == pytest.approx(calibration_error(label, probability))


def test_balanced_set_is_half_positive_and_rebased_to_one_half() -> None:
    label, score = balanced(LABEL, TRUTH, None, np.random.default_rng(0))
    assert label.mean() == 0.5
    assert len(label) == 2 * LABEL.sum()
    assert calibration_error(label, expit(score)) < 0.02
    assert score.max() == pytest.approx(TRUTH.max() - logit(LABEL.mean()), abs=1.0)


def test_balanced_set_is_the_same_for_the_same_seed() -> None:
    first, second = (balanced(LABEL, TRUTH, None, np.random.default_rng(3))[1] for _ in range(2))
    assert (first == second).all()


def test_accuracy_on_the_balanced_set_is_not_that_of_always_saying_no() -> None:
    result = evaluate(LABEL, TRUTH, None, 0)
    assert result["accuracy"] > 0.85
    assert 0.65 < result["balanced_accuracy"] < 0.9


def test_f1_threshold_beats_one_half() -> None:
    def f1(at: float) -> float:
        said = expit(TRUTH) >= at
        return float(2 * (said & (LABEL == 1)).sum() / (said.sum() + LABEL.sum()))

    best = best_f1_threshold(LABEL, TRUTH)
    assert f1(best) >= max(f1(t) for t in (0.05, 0.1, 0.2, 0.3, 0.5))
