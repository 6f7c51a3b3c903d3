"""Numbers of any scale come out tame, and every category has an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.encoding import MISSING, UNSEEN, Vocabulary, fit_encoding, fit_normalization
from training.shards import Columns, Split

RNG = np.random.default_rng(0)


def column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)[:, None]


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(50, 3, 5000),
        RNG.lognormal(0, 3, 5000),
        RNG.standard_t(2, 5000) * 1e4,
        RNG.poisson(0.01, 5000),
    ],
    ids=["light", "heavy", "heavy on both sides", "mostly zero"],
)
def test_normalized_numbers_are_centred_and_within_five(values: np.ndarray) -> None:
    z = fit_normalization(column(values)).apply(column(values))
    assert abs(z.mean()) < 0.2
    assert np.abs(z).max() <= 5
    assert 0.3 < z.std() < 1.2


@pytest.mark.parametrize("values", [RNG.normal(50, 3, 5000), RNG.standard_t(2, 5000) * 1e4])
def test_order_is_kept(values: np.ndarray) -> None:
    normalization = fit_normalization(column(values))
    inside = column(np.sort(RNG.choice(values, 100)))
    assert (np.diff(normalization.apply(inside)[:, 0]) >= 0).all()


def test_heavy_tail_keeps_small_values_apart() -> None:
    values = np.concatenate([RNG.integers(0, 10, 5000), [1e7]])
    z = fit_normalization(column(values)).apply(column(np.array([1, 2, 3])))[:, 0]
    assert np.diff(z).min() > 0.1


def test_heavy_tail_on_both_sides_is_a_signed_logarithm() -> None:
    values = RNG.standard_t(1.5, 5000) * 100
    normalization = fit_normalization(column(np.concatenate([values, -values])))
    z = normalization.apply(column(np.array([-1000.0, 0.0, 1000.0])))[:, 0]
    assert normalization.signed
    assert z[0] == pytest.approx(-z[2], abs=1e-3)
    assert z[1] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("values", [np.full(50, 3.0), np.full(50, np.nan)], ids=["constant", "empty"])
def test_constant_and_empty_columns_are_zero(values: np.ndarray) -> None:
    z = fit_normalization(column(values)).apply(column(values))
    assert z.tolist() == np.zeros((50, 1)).tolist()


def test_missing_number_is_zero_and_marked() -> None:
    values = column(np.array([1, np.nan, 3, 4]))
    z = fit_normalization(values).apply(values)
    assert z[1].tolist() == [0, 1]
    assert z[0, 1] == 0


def test_columns_missing_together_share_one_indicator() -> None:
    values = np.array([[1, 5, 0], [np.nan, np.nan, 1], [3, 4, np.nan]], np.float32)
    assert fit_normalization(values).indicators.tolist() == [0, 2]


def test_infinite_numbers_are_clipped() -> None:
    normalization = fit_normalization(column(RNG.normal(0, 1, 1000)))
    assert np.abs(normalization.apply(column(np.array([np.inf, -np.inf])))).max() <= 5


def test_key_0_is_missing_and_an_unknown_key_is_unseen() -> None:
    vocabulary = Vocabulary((pa.array([70, 80], pa.int64()),))
    index = vocabulary.encode(np.array([[0], [80], [99], [70]], np.int64))
    assert index[:, 0].tolist() == [MISSING, 3, UNSEEN, 2]


def test_empty_text_is_missing_and_an_unknown_text_is_unseen() -> None:
    vocabulary = Vocabulary((pa.array(["x"]), pa.array([], pa.string())))
    index = vocabulary.encode(np.array([["", ""], ["x", "x"]], object))
    assert index.tolist() == [[MISSING, MISSING], [2, UNSEEN]]


def test_rare_categories_are_left_out_and_the_frequent_come_first(tmp_path: Path) -> None:
    keys = [5] * 3 + [6] * 9 + [7] + [0] * 20
    table = pa.table({"label": pa.array([0] * len(keys)), "k": pa.array(keys, pa.int64())})
    pq.write_table(table, tmp_path / "part-0.parquet")
    encoding = fit_encoding(Split(tmp_path, Columns((), ("k",))), np.random.default_rng(0), min_count=3)
    assert encoding.vocabulary.values[0].to_pylist() == [6, 5]
    assert encoding.vocabulary.sizes == (4,)


@pytest.mark.parametrize("trained_on", [np.full(50, 7.0), np.full(50, np.nan)], ids=["constant", "empty"])
def test_column_that_never_changed_counts_as_zero_whatever_it_holds_later(trained_on: np.ndarray) -> None:
    normalization = fit_normalization(column(trained_on))
    assert (normalization.apply(column(np.array([7.0, -3.0, 1e9, np.nan])))[:, 0] == 0).all()


@pytest.mark.parametrize("scale", [1e-41, 1e-30, 1e29])
def test_numbers_at_the_ends_of_float32_stay_finite(scale: float) -> None:
    values = column(RNG.normal(size=1000) * scale)
    z = fit_normalization(values).apply(np.concatenate([values, column(np.array([np.inf, -np.inf, 0]))]))
    assert np.isfinite(z).all()
