"""Softmax and the choice of the best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from server.scoring import best, softmax

finite = st.floats(-1e6, 1e6, width=32)
logits = arrays(np.float32, st.integers(1, 60), elements=finite)
temperatures = st.floats(1e-3, 1e3)


@given(logits, temperatures)
def test_softmax_sums_to_one_and_keeps_the_order(z: npt.NDArray[np.float32], temperature: float) -> None:
    p = softmax(z, temperature)
    assert p.dtype == np.float32
    assert p.sum() == pytest.approx(1, abs=1e-5)
    order = np.argsort(-z, kind="stable")
    assert (np.diff(p[order]) <= 0).all()


@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e38])
def test_softmax_takes_any_temperature(temperature: float) -> None:
    p = softmax(np.array([1, 2, 2], np.float32), temperature)
    assert np.isfinite(p).all()
    assert p.sum() == pytest.approx(1)
    assert p[1] == p[2]


def test_softmax_is_the_formula() -> None:
    z = np.array([0.0, np.log(2.0), np.log(5.0)], np.float32)
    np.testing.assert_allclose(softmax(z), [1 / 8, 2 / 8, 5 / 8], rtol=1e-6)
    np.testing.assert_allclose(softmax(z, 0.5), np.array([1, 4, 25]) / 30, rtol=1e-6)


@given(arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])), st.data())
def test_the_best_are_the_head_of_the_stable_order(z: npt.NDArray[np.float32], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(z)))
    np.testing.assert_array_equal(best(z, k), np.argsort(-z, kind="stable")[:k])


def test_zeros_are_equal_and_no_number_comes_last() -> None:
    z = np.array([np.nan, -0.0, np.inf, 0.0, -np.inf, 1.0, -0.0], np.float32)
    assert best(z, 7).tolist() == [2, 5, 1, 3, 6, 4, 0]
    assert best(z, 3).tolist() == [2, 5, 1]
