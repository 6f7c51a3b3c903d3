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
from feature_repo.prefetch import prefetch

DAY = 86_400.0

# Numbers and not lengths of the schema's tuples: compiled code is kept on disk for as long as this file is the same.
_LEVELS, _A_LEVEL, _CROSS, WIDTH = 3, 10, 30, 38
if (len(schema.LEVELS), len(schema.PAIR_NUMBERS), len(schema.CROSS_NUMBERS)) != (_LEVELS, _A_LEVEL, WIDTH - _CROSS):
    raise AssertionError("feature_repo.pairs computes other features than the schema names")
_ITEM_GAP = [f.name for f in schema.ITEM_NUMBERS].index("item_gap_days")

LATEST = 2**63 - 1

_i8, _i4, _f4 = numba.types.int64, numba.types.int32, numba.types.float32


def _vector(kind: Any) -> Any:
    return numba.types.Array(kind, 1, "C", readonly=True)


def _array(kind: Any, dimensions: int) -> Any:
    return numba.types.Array(kind, dimensions, "C")


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

AHEAD = 16
"""Items whose facts are asked for ahead of the one that is looked at: most miss the processor's caches."""

FACTS_TYPE = numba.types.Array(_i8, 2, "C", readonly=True)


ROW = 13
"""Numbers of a row of a table of affinities: those of a level, and the CROSS_NUMBERS of a user and an item."""
ABSENT_ROWS = 4
"""Rows that level 0 of a table begins with: of an item that the user never met, where the user bought neither of its
category and its subcategory, of the category, of the subcategory, of both. The other levels begin with one such row."""


@numba.njit(cache=True, error_model="numpy")
def _absent(out: Any, i: int, at: int) -> None:
    """The numbers of a level that the user never met."""
    for j in range(_A_LEVEL):
        out[i, at + j] = np.float32(math.nan) if 1 <= j <= 4 else np.float32(0)


@numba.njit(cache=True, error_model="numpy")
def _affinity(
    out: Any, i: int, at: int, entry: int, time: int, orders: Any, of_user: Any, decays: Any,
    first_at: Any, last_at: Any, purchases: Any, recent: Any, steady: Any, interest: Any,
) -> None:  # fmt: skip
    """The numbers of a level, of one entry of the user's history."""
    count = purchases[entry]
    since_last, since_first, gap = math.nan, math.nan, math.nan
    if count > 0:
        since_last, since_first = (time - last_at[entry]) / DAY, (time - first_at[entry]) / DAY
    if count > 1:
        gap = (last_at[entry] - first_at[entry]) / DAY / (count - np.float32(1))
    out[i, at] = count
    out[i, at + 1] = since_last
    out[i, at + 2] = since_first
    out[i, at + 3] = gap
    out[i, at + 4] = since_last / gap if gap > 0 else math.nan
    out[i, at + 5] = count / of_user
    out[i, at + 6] = count / orders
    out[i, at + 7] = recent[entry] * decays[0]
    out[i, at + 8] = steady[entry] * decays[1]
    out[i, at + 9] = interest[entry] * decays[2]


@numba.njit(cache=True, error_model="numpy")
def _of_user(out: Any, at: int, time: int, gap: Any, times: Any) -> None:
    """The CROSS_NUMBERS of the user and the time alone."""
    last = _days_since(time, times[2])
    out[at] = _finite(np.float32(_days_since(time, times[1])))
    out[at + 1] = _finite(np.float32(last))
    out[at + 2] = _finite(np.float32(last / gap))


@numba.njit(cache=True, error_model="numpy")
def _ages(time: int, facts: Any, row: int) -> Any:
    """The CROSS_NUMBERS of the item and the time alone."""
    return np.float32(_days_since(time, facts[row, FIRST_AT])), np.float32(_days_since(time, facts[row, LAST_AT]))


@numba.njit(cache=True, error_model="numpy")
def _of_both(out: Any, i: int, at: int, since_last: Any, gap: Any, count: Any, category: Any, subcategory: Any) -> None:
    """The CROSS_NUMBERS of the user and the item, by their purchases of the item, its category and subcategory."""
    out[i, at] = _finite(since_last / gap)
    out[i, at + 1] = _finite(count / subcategory)
    out[i, at + 2] = _finite(count / category)


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
    of_user = np.empty(3, np.float32)
    _of_user(of_user, 0, time, user_gap, user_times)
    for i in range(len(positions)):
        row = positions[i]
        for level in range(_LEVELS):
            at = level * _A_LEVEL
            wanted = facts[row, level]
            low, end = _place(keys, ends[level], ends[level + 1], wanted), ends[level + 1]
            if wanted == 0 or low == end or keys[low] != wanted:
                _absent(out, i, at)
            else:
                _affinity(
                    out, i, at, low, time, user_orders, user_purchases, decays,
                    first_at, last_at, purchases, recent, steady, interest,
                )  # fmt: skip
        for j in range(3):
            out[i, _CROSS + j] = of_user[j]
        out[i, _CROSS + 3], out[i, _CROSS + 4] = _ages(time, facts, row)
        gap, count = halves[row, 2 * GAP], out[i, 0]
        _of_both(out, i, _CROSS + 5, out[i, 1], gap, count, out[i, _A_LEVEL], out[i, 2 * _A_LEVEL])


@numba.njit(cache=True)
def _hashed(ends: Any, keys: Any) -> Any:
    """Entries of a history in a table of open addressing, int32 (2^k,), -1 where there is none.

    A key, whose bits are a hash's, begins at as many slots behind its own as its level is; levels may share keys.
    """
    size = 16
    while size < 2 * len(keys):
        size *= 2
    slots = np.full(size, -1, np.int32)
    for level in range(_LEVELS):
        for entry in range(ends[level], ends[level + 1]):
            slot = (keys[entry] + level) & (size - 1)
            while slots[slot] >= 0:
                slot = (slot + 1) & (size - 1)
            slots[slot] = entry
    return slots


@numba.njit(cache=True)
def _entry_of(key: int, level: int, slots: Any, ends: Any, keys: Any) -> Any:
    """The entry of a key at a level, -1 where there is none."""
    if key == 0:
        return np.int32(-1)
    slot = (key + level) & (len(slots) - 1)
    while slots[slot] >= 0:
        entry = slots[slot]
        if keys[entry] == key and ends[level] <= entry < ends[level + 1]:
            return entry
        slot = (slot + 1) & (len(slots) - 1)
    return np.int32(-1)


@numba.njit(cache=True)
def _find(ends: Any, keys: Any, purchases: Any, facts: Any, positions: Any, rows: Any, hits: Any, counts: Any) -> None:
    """Which rows of a table of affinities items have, and of what entry of the history each row is.

    rows: int32 (n, levels), becomes the rows of each item. hits: int64 (levels + 1, room), becomes the entry that each
    row is of, at each level, and which item a row of level 0 is of. counts: int64 (levels,), rows so far, which grow.
    """
    for i in range(min(AHEAD, len(positions))):
        prefetch(facts, positions[i], 0)  # type: ignore[call-arg]
    slots, seen = _hashed(ends, keys), np.zeros(len(keys), np.int32)
    for i in range(len(positions)):
        if i + AHEAD < len(positions):
            prefetch(facts, positions[i + AHEAD], 0)  # type: ignore[call-arg]
        kinds = np.int64(0)
        for level in range(_LEVELS - 1, -1, -1):
            entry = _entry_of(facts[positions[i], level], level, slots, ends, keys)
            place = np.int64(0) if level else kinds
            if entry >= 0:
                kinds += level * (purchases[entry] > 0)
                place = np.int64(seen[entry])
                if place == 0 or level == 0:
                    place = counts[level]
                    counts[level] += 1
                    seen[entry] = place
                    hits[level, place] = entry
                    if level == 0:
                        hits[_LEVELS, place] = i
            rows[i, level] = place


_PARTS: Any = numba.types.Tuple((_array(_f4, 3), _array(_i4, 2), _array(_f4, 1), _array(_f4, 2)))  # type: ignore[no-untyped-call]


@numba.njit(  # type: ignore[untyped-decorator]
    _PARTS(
        _i8, _f4, _f4, _f4, _vector(_i8), _vector(_f4),
        _vector(_i8), _vector(_i8), _vector(_i8), _vector(_i8), _vector(_f4), _vector(_f4), _vector(_f4), _vector(_f4),
        FACTS_TYPE, _table(_f4), _vector(_i8),
    ),
    cache=True, error_model="numpy", nogil=True,
)  # fmt: skip
def affinities(
    time: int, user_orders: Any, user_purchases: Any, user_gap: Any, user_times: Any, decays: Any,
    ends: Any, keys: Any, first_at: Any, last_at: Any, purchases: Any, recent: Any, steady: Any, interest: Any,
    facts: Any, halves: Any, positions: Any,
) -> Any:  # fmt: skip
    """What `fill` writes for these arguments, what items share held once: see `feature_repo.transforms.Affinities`.

    A category or subcategory of the history has one row, however many items are of it; an item has one of its own.
    """
    count = len(positions)
    rows, hits = np.empty((count, _LEVELS), np.int32), np.empty((_LEVELS + 1, count + ABSENT_ROWS), np.int64)
    counts = np.ones(_LEVELS, np.int64)
    counts[0] = ABSENT_ROWS
    _find(ends, keys, purchases, facts, positions, rows, hits, counts)
    table = np.zeros((_LEVELS, ROW, max(counts[0], counts[1], counts[2])), np.float32)
    for level in range(_LEVELS):
        out, absent = table[level].T, np.int64(1) if level else np.int64(ABSENT_ROWS)
        for row in range(absent):
            _absent(out, row, 0)
            if level == 0:
                category, subcategory = np.float32(row & 1), np.float32(row >> 1)
                _of_both(out, row, _A_LEVEL, out[row, 1], np.float32(1), out[row, 0], category, subcategory)
        for row in range(absent, counts[level]):
            _affinity(
                out, row, 0, hits[level, row], time, user_orders, user_purchases, decays,
                first_at, last_at, purchases, recent, steady, interest,
            )  # fmt: skip
    for row in range(ABSENT_ROWS, counts[0]):
        i, out = hits[_LEVELS, row], table[0].T
        gap, category, subcategory = halves[positions[i], 2 * GAP], table[1, 0, rows[i, 1]], table[2, 0, rows[i, 2]]
        _of_both(out, row, _A_LEVEL, out[row, 1], gap, out[row, 0], category, subcategory)
    of_user, ages = np.empty(3, np.float32), np.empty((2, count), np.float32)
    _of_user(of_user, 0, time, user_gap, user_times)
    for i in range(count):
        ages[0, i], ages[1, i] = _ages(time, facts, positions[i])
    return table, rows, of_user, ages


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
