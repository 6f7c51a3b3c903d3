"""When calls of an open loop are due."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.load.arrivals import arrivals


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    moments = arrivals("poisson", rate=500, seconds=40, seed=1)
    gaps = np.diff(moments)
    assert len(moments) == pytest.approx(20_000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert (gaps > 0).all()
    assert moments[-1] < 40


def test_the_same_seed_gives_the_same_moments_and_another_others() -> None:
    first, again, other = (arrivals("poisson", 100, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[:100], other[:100])


def test_constant_arrivals_are_evenly_apart() -> None:
    moments = arrivals("constant", rate=50, seconds=2, seed=0)
    np.testing.assert_allclose(moments, np.arange(100) * 0.02)
