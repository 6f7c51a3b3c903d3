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
WIDTH = len(schema.LEVELS) * len(schema.PAIR_NUMBERS) + len(schema.CROSS_NUMBERS)

_LEVELS = len(schema.LEVELS)
_A_LEVEL = len(schema.PAIR_NUMBERS)
_CROSS = _LEVELS * _A_LEVEL
_USER_ORDERS, _USER_PURCHASES, _USER_GAP = (
    [f.name for f in schema.USER_NUMBERS].index(name)
    for name in ("user_orders", "user_purchases", "user_order_gap_days")
)
_ITEM_GAP = [f.name for f in schema.ITEM_NUMBERS].index("item_gap_days")

_i8, _f4 = numba.types.int64, numba.types.float32


def _vector(kind: Any) -> Any:
    return numba.types.Array(kind, 1, "C", readonly=True)


def _table(kind: Any) -> Any:
    return numba.types.Array(kind, 2, "C", readonly=True)


@numba.njit(cache=True, error_model="numpy")
def _days_since(time: int, then: int) -> float:
    return (time - then) / DAY if then > 0 else math.nan


@numba.njit(cache=True, error_model="numpy")
def _finite(x: Any) -> Any:
    return x if math.isfinite(x) else np.float32(math.nan)


@numba.njit(
    numba.types.void(
        numba.types.Array(_f4, 2, "C"), _i8, _vector(_f4), _vector(_i8), _vector(_f4),
        _vector(_i8), _vector(_i8), _vector(_i8), _vector(_i8), _vector(_f4), _vector(_f4), _vector(_f4), _vector(_f4),
        _table(_f4), _table(_i8), _table(_i8), _vector(_i8),
    ),
    cache=True, error_model="numpy", nogil=True,
)  # fmt: skip
def fill(
    out: Any, time: int, user_numbers: Any, user_times: Any, decays: Any,
    ends: Any, keys: Any, first_at: Any, last_at: Any, purchases: Any, recent: Any, steady: Any, interest: Any,
    item_numbers: Any, item_times: Any, item_keys: Any, positions: Any,
) -> None:  # fmt: skip
    """Write the pair and cross features of the items at `positions` (n,) of a table into `out`, float32 (n, WIDTH).

    user_numbers (17,), user_times (3,): of the user's row. decays (3,): what recent, steady and interest are
    multiplied by. ends (levels + 1,): where each level of the history begins and ends in the arrays (m,) behind it.
    item_numbers, item_times, item_keys: the table's rows, as in `transforms.ItemRows`.
    """
    nan = np.float32(math.nan)
    user_first, user_last = _days_since(time, user_times[1]), _days_since(time, user_times[2])
    user_overdue = user_last / user_numbers[_USER_GAP]
    for i in range(len(positions)):
        row = positions[i]
        for level in range(_LEVELS):
            at = level * _A_LEVEL
            wanted = item_keys[row, level]
            low, end = ends[level], ends[level + 1]
            if wanted != 0:
                low += np.searchsorted(keys[low:end], wanted)
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
            out[i, at + 5] = count / user_numbers[_USER_PURCHASES]
            out[i, at + 6] = count / user_numbers[_USER_ORDERS]
            out[i, at + 7] = recent[low] * decays[0]
            out[i, at + 8] = steady[low] * decays[1]
            out[i, at + 9] = interest[low] * decays[2]
        out[i, _CROSS] = _finite(np.float32(user_first))
        out[i, _CROSS + 1] = _finite(np.float32(user_last))
        out[i, _CROSS + 2] = _finite(np.float32(user_overdue))
        out[i, _CROSS + 3] = _days_since(time, item_times[row, 1])
        out[i, _CROSS + 4] = _days_since(time, item_times[row, 2])
        out[i, _CROSS + 5] = _finite(out[i, 1] / item_numbers[row, _ITEM_GAP])
        out[i, _CROSS + 6] = _finite(out[i, 0] / out[i, 2 * _A_LEVEL])
        out[i, _CROSS + 7] = _finite(out[i, 0] / out[i, _A_LEVEL])
