"""Shares of the cores."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.process.cores import share


@given(st.integers(1, 64), st.integers(1, 64))
def test_every_core_is_used_and_shares_differ_by_one_at_most(cores: int, workers: int) -> None:
    there = tuple(range(cores))
    shares = [share(there, place, workers) for place in range(workers)]
    assert {core for part in shares for core in part} == set(there)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    if workers <= cores:
        assert sum(map(len, shares)) == cores
