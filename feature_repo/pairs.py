"""User × item features of one user against n items, compiled: a call costs what it computes, not what NumPy's cost.

Plain IEEE arithmetic in the order written (no fast-math, no fused operations), so a pair's features are the same bits
whatever else is in the batch, in training and in serving.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from feature_repo import schema

DAY = 86_400.0

# Numbers and not lengths of the schema's tuples: compiled code is kept on disk for as long as this file is the same.
_LEVELS, _A_LEVEL, _CROSS, WIDTH = 3, 10, 30, 38
if (len(schema.LEVELS), len(schema.PAIR_NUMBERS), len(schema.CROSS_NUMBERS)) != (_LEVELS, _A_LEVEL, WIDTH - _CROSS):
    raise AssertionError("feature_repo.pairs computes other features than the schema names")
_ITEM_GAP = [f.name for f in schema.ITEM_NUMBERS].index("item_gap_days")

LATEST = 2**63 - 1

_i8, _f4 = numba.types.int64, numba.types.float32


def _vector(kind: Any) -> Any:
    return numba.types.Array(kind, 1, "C", readonly=True)


def _table(kind: Any) -> Any:
    return numba.types.Array(kind, 2, "C", readonly=True)


@numba.njit(cache=True, error_model="numpy")
def _days_since(time: int, then: int) -> float:
    return (time - then) / DAY if then > 0 else math.nan


@numba.njit(cache=True)
def _place(keys: Any, low: int, end: int, wanted: int) -> Any:
    """Where `wanted` is among keys[low:end], ascending, or where it would be put.

    A search whose steps do not depend on what it finds: a processor cannot guess where keys of random bits lie.
    """
    count = end - low
    while count > 1:
        half = count >> 1
        low += half * (keys[low + half - 1] < wanted)
        count -= half
    return low + (count == 1 and keys[low] < wanted)


@numba.njit(cache=True, error_model="numpy")
def _finite(x: Any) -> Any:
    return x if math.isfinite(x) else np.float32(math.nan)


FACTS = 8
"""int64 values that `fill` reads of an item: a line of the processor's cache, so that an item costs one miss."""
CATEGORY_LEVELS, FIRST_AT, LAST_AT, AT, GAP, ENTRY = 0, 3, 4, 5, 6, 7
"""Where they lie: the keys of each level; when anyone bought the item first and last; when its row was computed; the
item's mean gap, a float32 in the lower half; and one for whoever keeps the items."""

FACTS_TYPE = numba.types.Array(_i8, 2, "C", readonly=True)


@numba.njit(
    numba.types.void(
        numba.types.Array(_f4, 2, "C"), _i8, _f4, _f4, _f4, _vector(_i8), _vector(_f4),
        _vector(_i8), _vector(_i8), _vector(_i8), _vector(_i8), _vector(_f4), _vector(_f4), _vector(_f4), _vector(_f4),
        FACTS_TYPE, _table(_f4), _vector(_i8),
    ),
    cache=True, error_model="numpy", nogil=True,
)  # fmt: skip
def fill(
    out: Any, time: int, user_orders: Any, user_purchases: Any, user_gap: Any, user_times: Any, decays: Any,
    ends: Any, keys: Any, first_at: Any, last_at: Any, purchases: Any, recent: Any, steady: Any, interest: Any,
    facts: Any, halves: Any, positions: Any,
) -> None:  # fmt: skip
    """Write the pair and cross features of the items at `positions` (n,) of a table into `out`, float32 (n, WIDTH).

    user_orders, user_purchases, user_gap, user_times (3,): of the user's row. decays (3,): what recent, steady and
    interest are multiplied by. ends (levels + 1,): where each level of the history begins and ends in the arrays (m,)
    behind it. facts: the table, int64 (N, FACTS), and its bytes once more as float32, (N, 2 · FACTS).
    """
    nan = np.float32(math.nan)
    user_first, user_last = _days_since(time, user_times[1]), _days_since(time, user_times[2])
    user_overdue = user_last / user_gap
    for i in range(len(positions)):
        row = positions[i]
        for level in range(_LEVELS):
            at = level * _A_LEVEL
            wanted = facts[row, level]
            low, end = _place(keys, ends[level], ends[level + 1], wanted), ends[level + 1]
            if wanted == 0 or low == end or keys[low] != wanted:
                for j in range(_A_LEVEL):
                    out[i, at + j] = nan if 1 <= j <= 4 else np.float32(0)
                continue
            count = purchases[low]
            since_last, since_first, gap = math.nan, math.nan, math.nan
            if count > 0:
                since_last, since_first = (time - last_at[low]) / DAY, (time - first_at[low]) / DAY
            if count > 1:
                gap = (last_at[low] - first_at[low]) / DAY / (count - np.float32(1))
            out[i, at] = count
            out[i, at + 1] = since_last
            out[i, at + 2] = since_first
            out[i, at + 3] = gap
            out[i, at + 4] = since_last / gap if gap > 0 else math.nan
            out[i, at + 5] = count / user_purchases
            out[i, at + 6] = count / user_orders
            out[i, at + 7] = recent[low] * decays[0]
            out[i, at + 8] = steady[low] * decays[1]
            out[i, at + 9] = interest[low] * decays[2]
        out[i, _CROSS] = _finite(np.float32(user_first))
        out[i, _CROSS + 1] = _finite(np.float32(user_last))
        out[i, _CROSS + 2] = _finite(np.float32(user_overdue))
        out[i, _CROSS + 3] = _days_since(time, facts[row, FIRST_AT])
        out[i, _CROSS + 4] = _days_since(time, facts[row, LAST_AT])
        out[i, _CROSS + 5] = _finite(out[i, 1] / halves[row, 2 * GAP])
        out[i, _CROSS + 6] = _finite(out[i, 0] / out[i, 2 * _A_LEVEL])
        out[i, _CROSS + 7] = _finite(out[i, 0] / out[i, _A_LEVEL])


@numba.njit(_i8(FACTS_TYPE, _vector(_i8)), cache=True, nogil=True)
def oldest(facts: Any, positions: Any) -> Any:
    """When the oldest of the rows at `positions` was computed, LATEST where there are none."""
    found = np.int64(LATEST)
    for position in positions:
        found = min(found, facts[position, AT])
    return found


def facts_of(numbers: Any, times: Any, keys: Any, out: Any = None) -> Any:
    """The facts, int64 (n, FACTS), of items' numbers float32 (n, 17), times and keys int64 (n, 3) and (n, ≥ 3).

    AT and ENTRY are left for whoever keeps the items. out: an array to write them to.
    """
    facts = np.zeros((len(keys), FACTS), np.int64) if out is None else out
    facts[:, :_LEVELS] = keys[:, :_LEVELS]
    facts[:, FIRST_AT : LAST_AT + 1] = times[:, 1:3]
    facts.view(np.float32)[:, 2 * GAP] = numbers[:, _ITEM_GAP]
    return facts
