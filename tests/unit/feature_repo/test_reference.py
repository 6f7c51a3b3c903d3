"""A reference tells rows that are as they were from rows that are not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from feature_repo.reference import (
    MISSING,
    NO_KEY,
    REST,
    UNSEEN,
    Bins,
    Counts,
    Reference,
    edges_of,
    shares,
    stability_index,
)
from feature_repo.transforms import ModelInput
from shoprank.errors import BundleError

RNG = np.random.default_rng(7)
KEYS = np.arange(1, 41, dtype=np.int64) * 1_000


def rows(n: int, mean: float = 0.0, missing: float = 0.05, taste: float = 1.2) -> tuple[ModelInput, np.ndarray]:
    """Two numbers, one of which is mostly 1, a category by Zipf, and a probability."""
    numeric = np.stack([RNG.normal(mean, 1, n), RNG.random(n) < 0.95], axis=1).astype(np.float32)
    numeric[RNG.random(n) < missing, 0] = np.nan
    weights = np.arange(1, 41) ** -taste
    categorical = RNG.choice(KEYS, n, p=weights / weights.sum())[:, None]
    return ModelInput(numeric, categorical), RNG.beta(1 + max(mean, 0), 20, n).astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> Reference:
    inputs, probability = rows(50_000)
    weight = np.ones(50_000)
    bins = Bins(
        edges=np.stack([edges_of(column, weight) for column in inputs.numeric.T]),
        top=KEYS[None, :20],
        known=(KEYS,),
        score=edges_of(probability, weight),
    )
    counts = bins.count(inputs, probability)
    expected = Counts(shares(counts.numeric), shares(counts.categorical), shares(counts.score))
    return Reference(("x", "mostly one", "brand"), bins, expected, np.ones(3, np.bool_), 50_000)


def drift(reference: Reference, inputs: ModelInput, probability: np.ndarray) -> tuple[dict[str, float], float]:
    return reference.drift(reference.bins.count(inputs, probability))


def test_the_index_is_the_formula() -> None:
    expected, actual = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    by_hand = 0.1 * math.log(0.3 / 0.2) + 0 + (-0.1) * math.log(0.4 / 0.5)
    assert stability_index(expected, actual) == pytest.approx(by_hand)
    assert stability_index(actual, expected) == pytest.approx(by_hand), "it is symmetric"
    assert stability_index(expected, expected) == 0


def test_a_share_of_none_is_finite() -> None:
    assert stability_index(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(
        -0.5 * math.log(0.5) + (0.5 - 1e-4) * math.log(0.5 / 1e-4)
    )


def test_rows_like_those_of_training_are_no_drift(reference: Reference) -> None:
    features, score = drift(reference, *rows(1_000))
    assert max(*features.values(), score) < 0.1
    features, score = drift(reference, *rows(20_000))
    assert max(*features.values(), score) < 0.01


@pytest.mark.parametrize(
    ("name", "shift"),
    [("x", {"mean": 0.7}), ("x", {"mean": -0.7}), ("x", {"missing": 0.4}), ("brand", {"taste": 0.3})],
)
def test_a_shift_shows_in_its_feature_and_in_no_other(reference: Reference, name: str, shift: dict[str, float]) -> None:
    features, _ = drift(reference, *rows(2_000, **shift))
    assert features[name] > 0.25
    assert max(value for other, value in features.items() if other != name) < 0.1


def test_a_shift_of_the_score_shows(reference: Reference) -> None:
    _, score = drift(reference, *rows(2_000, mean=0.8))
    assert score > 0.25


def test_a_value_that_most_rows_had_shows_when_it_is_gone(reference: Reference) -> None:
    inputs, probability = rows(2_000)
    inputs.numeric[:, 1] = 0
    features, _ = drift(reference, inputs, probability)
    assert features["mostly one"] > 1


@pytest.mark.parametrize("value", [4.0, 6.0, math.nan])
def test_a_constant_shows_when_it_is_another(value: float) -> None:
    edges = edges_of(np.full(100, 5.0), np.ones(100))[None]
    bins = Bins(edges, np.zeros((0, 20), np.int64), (), edges_of(np.zeros(1), np.ones(1)))
    same, other = (bins.numeric_bins(np.array([[number]], np.float32)).item() for number in (5.0, value))
    assert same != other


def test_every_key_has_its_bin(reference: Reference) -> None:
    known, rare, unseen = KEYS[0], KEYS[30], 77
    bins = reference.bins.categorical_bins(np.array([[known], [rare], [unseen], [0]]))
    assert bins.ravel().tolist() == [0, REST, UNSEEN, NO_KEY]


def test_a_column_that_is_always_missing_has_a_bin_for_it_alone() -> None:
    edges = edges_of(np.full(10, np.nan), np.ones(10))[None]
    bins = Bins(edges, np.zeros((0, 20), np.int64), (), edges[0])
    assert bins.numeric_bins(np.array([[np.nan], [1.0]], np.float32)).ravel().tolist() == [MISSING, 0]


def test_deciles_follow_the_weights() -> None:
    values, weight = np.array([0.0] * 10 + [1.0] * 10), np.array([9.0] * 10 + [1.0] * 10)
    edges = edges_of(values, weight)
    assert 0.0 in edges
    assert 1.0 not in edges[np.isfinite(edges)]


def test_it_is_read_as_it_was_written(reference: Reference, tmp_path: Path) -> None:
    reference.write(tmp_path / "reference.npz")
    read = Reference.read(tmp_path / "reference.npz")
    inputs, probability = rows(500)
    assert drift(read, inputs, probability) == drift(reference, inputs, probability)
    assert (read.names, read.rows) == (reference.names, reference.rows)


@pytest.mark.parametrize("spoil", ["cut", "text", "shape"])
def test_a_file_that_is_none_is_refused(reference: Reference, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "reference.npz"
    reference.write(path)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif spoil == "text":
        path.write_text("no archive")
    else:
        with np.load(path) as found:
            arrays = dict(found)
        np.savez(path, **{**arrays, "numeric": arrays["numeric"][:1]})
    with pytest.raises(BundleError, match="no reference distribution"):
        Reference.read(path)
