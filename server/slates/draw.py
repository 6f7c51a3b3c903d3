"""Puts a slate together, a place at a time, and says with what probability it did.

Of the items that may have the next place, each has a value: its logit z, or under diversity
λ·z − (1 − λ)·R·s, where R is the range of all logits and s the largest cosine of its description with one that has a
place already (maximal marginal relevance; Carbonell, Goldstein, The Use of MMR, 1998). Without exploration the place
goes to the largest value, the earlier one of equal ones. With exploration it is drawn from the softmax of value /
temperature over them. Without diversity and limits that is the Plackett–Luce distribution, and the same as taking the
largest of the logits with Gumbel noise (Kool, van Hoof, Welling, Stochastic Beams and Where to Find Them, 2019).

The probability of the slate, in its order, is the product of the probabilities of its places: over all slates that can
come about it sums to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from feature_repo.transforms import F32, I64
from server.retrieval.sources import Matrix

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Rules:
    """How a slate is put together. relevance: λ, 0 to 1. temperature: above 0, None for no exploration. caps: int64
    (4,), items of each of `server.slates.filters.GROUPS` at most."""

    relevance: float
    temperature: float | None
    caps: I64


@dataclass(frozen=True, slots=True)
class Slate:
    """Which of n candidates have the k places, int64 (k,), and the logarithms of their probabilities, float64 (k,)."""

    chosen: I64
    log_propensities: F64

    @property
    def log_propensity(self) -> float:
        """Logarithm of the probability of the whole slate."""
        return float(self.log_propensities.sum())


NOBODY: I64 = np.zeros(0, np.int64)


def draw(logits: F32, groups: I64, items: I32, tokens: Matrix, rules: Rules, k: int, seed: int) -> Slate:
    """A slate of at most k of n candidates.

    logits: float32 (n,). groups: int64 (n, 4), their keys; 0 for none. items: int32 (n,), their rows of tokens.
    seed: below 2^64.
    """
    return _slate(logits, groups, items, tokens, rules, k, seed, NOBODY)


def propensities(logits: F32, groups: I64, items: I32, tokens: Matrix, rules: Rules, given: I64) -> Slate:
    """The logarithms of the probabilities with which `draw` gives exactly these candidates the places, in this order.

    It ends before the first that may not have its place.
    """
    return _slate(logits, groups, items, tokens, rules, len(given), 0, given)


def _slate(logits: F32, groups: I64, items: I32, tokens: Matrix, rules: Rules, k: int, seed: int, given: I64) -> Slate:
    chosen, logs = _draw(
        logits, groups, items, tokens.indptr, tokens.indices, tokens.data, tokens.columns, rules.relevance,
        rules.temperature or 0.0, rules.caps, k, np.uint64(seed), given,
    )  # fmt: skip
    return Slate(chosen, logs)


_types = numba.types
_longs = _types.Array(_types.int64, 1, "C", readonly=True)
_ints = _types.Array(_types.int32, 1, "C", readonly=True)
_floats = _types.Array(_types.float32, 1, "C", readonly=True)
_SLATE: Any = _types.Tuple((_types.int64[::1], _types.float64[::1]))  # type: ignore[no-untyped-call]


@numba.njit(cache=True)
def _uniform(seed: Any, step: int) -> float:
    """A number of 53 bits in [0, 1), the same for the same seed and step: SplitMix64 (Steele, Lea, Flood, Fast
    Splittable Pseudorandom Number Generators, 2014)."""
    z = seed + np.uint64(0x9E3779B97F4A7C15) * np.uint64(step + 1)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.float64(z >> np.uint64(11)) / 9007199254740992.0


@numba.njit(cache=True)
def _nearer(near: Any, free: Any, items: Any, item: int, indptr: Any, indices: Any, data: Any, spread: Any) -> None:
    """Raise `near` of the free to the cosine with an item, where it is larger. Rows are of norm 1. spread: a zero for
    each column, and so again in the end."""
    for at in range(indptr[item], indptr[item + 1]):
        spread[indices[at]] = data[at]
    for i in range(len(items)):
        if free[i]:
            total = 0.0
            for at in range(indptr[items[i]], indptr[items[i] + 1]):
                total += np.float64(data[at]) * spread[indices[at]]
            near[i] = max(near[i], total)
    for at in range(indptr[item], indptr[item + 1]):
        spread[indices[at]] = 0


@numba.njit(cache=True)
def _placed(values: Any, free: Any, temperature: float, uniform: float, wanted: int) -> Any:
    """Which of the free gets the place, and the logarithm of its probability; -1 where none may. wanted: that one, -1
    for a draw."""
    largest, winner = -np.inf, -1
    for i in range(len(values)):
        if free[i] and (winner < 0 or values[i] > largest):
            largest, winner = values[i], i
    if winner < 0 or (wanted >= 0 and not free[wanted]):
        return -1, 0.0
    if temperature == 0:
        return (winner, 0.0) if wanted < 0 else (wanted, 0.0 if wanted == winner else -np.inf)
    total = 0.0
    for i in range(len(values)):
        if free[i]:
            total += math.exp((values[i] - largest) / temperature)
    if wanted < 0:
        passed, wanted, mark = 0.0, winner, uniform * total
        for i in range(len(values)):
            if free[i]:
                passed += math.exp((values[i] - largest) / temperature)
                if passed > mark:
                    wanted = i
                    break
    return wanted, (values[wanted] - largest) / temperature - math.log(total)


@numba.njit(  # type: ignore[untyped-decorator]
    _SLATE(
        _floats, _types.Array(_types.int64, 2, "C", readonly=True), _ints, _ints, _ints, _floats, _types.int64,
        _types.float64, _types.float64, _longs, _types.int64, _types.uint64, _longs,
    ),
    cache=True, nogil=True,
)  # fmt: skip
def _draw(
    logits: Any, groups: Any, items: Any, indptr: Any, indices: Any, data: Any, columns: int, relevance: float,
    temperature: float, caps: Any, k: int, seed: Any, given: Any,
) -> Any:  # fmt: skip
    """See `draw` and `propensities`; temperature 0 for no exploration."""
    count = len(logits)
    free, values, near = np.ones(count, np.bool_), np.empty(count, np.float64), np.zeros(count, np.float64)
    chosen, logs, places = np.empty(k, np.int64), np.empty(k, np.float64), 0
    spread = np.zeros(columns if relevance < 1 else 0, np.float64)
    low, high = np.inf, -np.inf
    for i in range(count):
        low, high = min(low, np.float64(logits[i])), max(high, np.float64(logits[i]))
        values[i] = relevance * np.float64(logits[i])
    while places < k:
        wanted: Any = given[places] if len(given) else np.int64(-1)
        winner, log = _placed(values, free, temperature, _uniform(seed, places), wanted)
        if winner < 0:
            break
        chosen[places], logs[places] = winner, log
        places += 1
        free[winner] = False
        for group in range(len(caps)):
            key, taken = groups[winner, group], 0
            for place in range(places):
                taken += groups[chosen[place], group] == key
            if key != 0 and taken >= caps[group]:
                for i in range(count):
                    if groups[i, group] == key:
                        free[i] = False
        if relevance < 1:
            _nearer(near, free, items, items[winner], indptr, indices, data, spread)
            for i in range(count):
                values[i] = relevance * np.float64(logits[i]) - (1 - relevance) * (high - low) * near[i]
    return chosen[:places], logs[:places]
