"""The probability of a slate, held against a plain computation, enumeration and the draw's own frequencies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.retrieval.sources import Matrix
from server.slates.draw import Rules, draw, propensities

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
NO_CAPS = (500, 500, 500, 500)


class Case:
    """Candidates with descriptions and kinds, and rules."""

    def __init__(
        self, logits: list[float], groups: list[int], tokens: list[int], relevance: float, temperature: float | None,
        cap: int,
    ) -> None:  # fmt: skip
        count = len(logits)
        self.logits = np.array(logits, np.float32)
        self.groups = np.zeros((count, 4), np.int64)
        self.groups[:, 1] = groups
        # Two tokens an item, one of them of its own: items of one token are alike by 0.5.
        self.described = np.zeros((count, 4 + count), np.float32)
        self.described[np.arange(count), tokens] = self.described[np.arange(count), 4 + np.arange(count)] = 0.5**0.5
        rows, columns = np.nonzero(self.described)
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]).astype(np.int32)
        self.tokens = Matrix(self.described[rows, columns], columns.astype(np.int32), starts, 4 + count)
        self.items = np.arange(count, dtype=np.int32)
        self.rules = Rules(relevance, temperature, np.array([500, cap, 500, 500], np.int64))

    def draw(self, k: int, seed: int) -> tuple[int, ...]:
        slate = draw(self.logits, self.groups, self.items, self.tokens, self.rules, k, seed)
        return tuple(slate.chosen.tolist())

    def log_propensity(self, slate: tuple[int, ...]) -> float:
        given = np.array(slate, np.int64)
        found = propensities(self.logits, self.groups, self.items, self.tokens, self.rules, given)
        assert found.chosen.tolist() == list(slate)
        return found.log_propensity

    def free(self, slate: tuple[int, ...]) -> list[int]:
        """Who may have the next place."""
        taken = Counter(int(self.groups[i, 1]) for i in slate)
        full = {key for key, n in taken.items() if key and n >= self.rules.caps[1]}
        return [i for i in range(len(self.logits)) if i not in slate and int(self.groups[i, 1]) not in full]

    def values(self, slate: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Each candidate's value, as the definition says."""
        z = self.logits.astype(np.float64)
        near = (self.described @ self.described[list(slate)].T).max(axis=1) if slate else np.zeros(len(z))
        found: npt.NDArray[np.float64] = (
            self.rules.relevance * z - (1 - self.rules.relevance) * (z.max() - z.min()) * near
        )
        return found

    def expected(self, slate: tuple[int, ...]) -> float:
        """The probability of a slate by the definition."""
        product = 1.0
        for place, item in enumerate(slate):
            free = self.free(slate[:place])
            assert self.rules.temperature is not None
            powers = np.exp(self.values(slate[:place])[free] / self.rules.temperature)
            product *= powers[free.index(item)] / powers.sum()
        return product

    def slates(self, k: int, so_far: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
        """Every slate that may come about."""
        free = self.free(so_far)
        if len(so_far) == k or not free:
            yield so_far
            return
        for item in free:
            yield from self.slates(k, (*so_far, item))


@st.composite
def cases(make: st.DrawFn) -> Case:
    count = make(st.integers(1, 5))

    def every(values: st.SearchStrategy[int]) -> list[int]:
        return make(st.lists(values, min_size=count, max_size=count))

    logits = make(st.lists(st.floats(-4, 4, width=32), min_size=count, max_size=count))
    relevance = make(st.sampled_from([1.0, 0.7, 0.2, 0.0]))
    temperature = make(st.floats(0.3, 5))
    return Case(
        logits, every(st.integers(0, 2)), every(st.integers(0, 3)), relevance, temperature, make(st.integers(1, 3))
    )


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(1, 4))
def test_the_probabilities_of_all_slates_sum_to_1_and_are_those_of_the_definition(case: Case, k: int) -> None:
    slates = list(case.slates(k))
    found = [math.exp(case.log_propensity(slate)) for slate in slates]
    assert sum(found) == pytest.approx(1, abs=1e-9)
    assert found == pytest.approx([case.expected(slate) for slate in slates], rel=1e-5, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 4), st.integers(0, 2**64 - 1))
def test_a_draw_says_the_probability_of_what_it_drew(case: Case, k: int, seed: int) -> None:
    slate = draw(case.logits, case.groups, case.items, case.tokens, case.rules, k, seed)
    chosen = tuple(slate.chosen.tolist())
    assert slate.log_propensity == pytest.approx(case.log_propensity(chosen), abs=1e-12)
    assert chosen in set(case.slates(k))
    assert case.draw(k, seed) == chosen


@pytest.mark.parametrize(("relevance", "cap"), [(1.0, 500), (0.6, 500), (1.0, 1), (0.5, 1)])
def test_slates_are_drawn_as_often_as_they_are_said_to_be(relevance: float, cap: int) -> None:
    """40,000 draws; Pearson's chi-squared lies below its 99.99 % quantile for 23 degrees of freedom or fewer."""
    case = Case([1.0, 0.2, -0.5, 0.6], [1, 1, 2, 3], [0, 0, 1, 2], relevance, 0.9, cap)
    draws = 40_000
    seen = Counter(case.draw(3, seed) for seed in range(draws))
    slates = list(case.slates(3))
    assert set(seen) <= set(slates)
    expected = {slate: draws * math.exp(case.log_propensity(slate)) for slate in slates}
    assert sum((seen[slate] - n) ** 2 / n for slate, n in expected.items()) < 60


def test_without_diversity_and_limits_it_is_the_largest_logits_with_gumbel_noise() -> None:
    """The distribution of Plackett and Luce, drawn in another way."""
    case = Case([1.0, 0.2, -0.5, 0.6], [0] * 4, [0] * 4, 1.0, 0.8, 500)
    rng, draws = np.random.default_rng(0), 40_000
    noisy = case.logits / 0.8 + rng.gumbel(size=(draws, 4))
    by_noise = Counter(tuple(row) for row in np.argsort(-noisy, axis=1)[:, :2].tolist())
    expected = {slate: draws * math.exp(case.log_propensity(slate)) for slate in case.slates(2)}
    assert sum((by_noise[slate] - n) ** 2 / n for slate, n in expected.items()) < 45


def test_without_exploration_the_best_has_the_place_and_the_earlier_of_equal_ones() -> None:
    case = Case([0.5, 2.0, 2.0, -1.0], [0] * 4, [0, 1, 2, 3], 1.0, None, 500)
    slate = draw(case.logits, case.groups, case.items, case.tokens, case.rules, 4, 0)
    assert slate.chosen.tolist() == [1, 2, 0, 3]
    assert slate.log_propensities.tolist() == [0.0] * 4
    assert case.log_propensity((2, 1, 0, 3)) == -math.inf


def test_diversity_passes_over_what_is_like_what_has_a_place() -> None:
    alike = Case([2.0, 1.9, 1.5, -1.0], [0] * 4, [0, 0, 1, 2], 0.5, None, 500)
    assert alike.draw(3, 0) == (0, 2, 1)


def test_a_kind_has_no_more_places_than_it_may_and_unknown_kinds_any_number() -> None:
    case = Case([5.0, 4.0, 3.0, 2.0, 1.0], [7, 7, 7, 0, 0], [0] * 5, 1.0, None, 1)
    assert case.draw(5, 0) == (0, 3, 4)


@pytest.mark.parametrize("temperature", [1e-30, 1e-3, 1e3, 1e30])
def test_any_temperature_is_safe(temperature: float) -> None:
    case = Case([300.0, -300.0, 0.0], [0] * 3, [0, 1, 2], 1.0, temperature, 500)
    slate = draw(case.logits, case.groups, case.items, case.tokens, case.rules, 3, 5)
    assert sorted(slate.chosen.tolist()) == [0, 1, 2]
    assert np.isfinite(slate.log_propensities).all()
    if temperature < 1:
        assert slate.chosen.tolist() == [0, 2, 1]


def test_other_seeds_draw_other_slates() -> None:
    case = Case([0.0] * 5, [0] * 5, [0] * 5, 1.0, 1.0, 500)
    assert len({case.draw(5, seed) for seed in range(200)}) > 60
