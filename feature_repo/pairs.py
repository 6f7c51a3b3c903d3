"""User × item features of users against their items, compiled: a call costs what it computes, not what NumPy's cost.

Plain IEEE arithmetic in the order written (no fast-math, no fused operations), so a pair's features are the same bits
whatever else is in the batch, in training and in serving. One file, since compiled code is kept on disk until the file
changes that it stands in: what it takes from another file would stay as it was.
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
_ORDERS, _PURCHASES, _USER_GAP = 0, 4, 10
"""Columns of a user's numbers."""
_USER_COLUMNS = [schema.USER_NUMBERS[j].name for j in (_ORDERS, _PURCHASES, _USER_GAP)]
if _USER_COLUMNS != ["user_orders", "user_purchases", "user_order_gap_days"]:
    raise AssertionError(f"feature_repo.pairs takes {_USER_COLUMNS} for what they are not")
WORDS, _LONGS = 10, 3
"""Words of four bytes of an entry of a history, and its values of eight bytes, which lie before those of four."""
_SIZES = [np.dtype(schema.affinity_type(feature)).itemsize for feature in schema.AFFINITY]
if _SIZES != [8] * _LONGS + [4] * (WORDS - 2 * _LONGS):
    raise AssertionError("feature_repo.pairs reads another history than the schema names")

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


@numba.njit(cache=True, error_model="numpy")
def _finite(x: Any) -> Any:
    return x if math.isfinite(x) else np.float32(math.nan)


FACTS = 8
"""int64 values that are read of an item: a line of the processor's cache, so that an item costs one miss."""
CATEGORY_LEVELS, FIRST_AT, LAST_AT, AT, GAP, ENTRY = 0, 3, 4, 5, 6, 7
"""Where they lie: the keys of each level; when anyone bought the item first and last; when its row was computed; the
item's mean gap, a float32 in the lower half; and one for whoever keeps the items."""

SLOTS = 8
"""Slots at least for each entry of a history."""
AHEAD = 16
"""Items whose facts are asked for ahead of the one that is looked at: most miss the processor's caches."""

FACTS_TYPE = numba.types.Array(_i8, 2, "C", readonly=True)


ROW = 13
"""Numbers of an item's affinity: those of a level, and the CROSS_NUMBERS of a user and an item."""
ABSENT_ROWS = 4
"""Affinities that those of items begin with: of an item that the user never met, where the user bought neither of its
category and its subcategory, of the category, of the subcategory, of both. The other levels begin with one such."""


@numba.njit(cache=True, error_model="numpy")
def _absent(out: Any, row: int) -> None:
    """The numbers of a level that the user never met, in a column of `out`."""
    for j in range(_A_LEVEL):
        out[j, row] = np.float32(math.nan) if 1 <= j <= 4 else np.float32(0)


@numba.njit(cache=True, error_model="numpy")
def _affinities(
    out: Any, absent: int, entries: Any, time: int, orders: Any, of_user: Any, decays: Any,
    first_at: Any, last_at: Any, purchases: Any, recent: Any, steady: Any, interest: Any,
) -> None:  # fmt: skip
    """The numbers of a level, of `entries` of the user's history, in the columns of `out` from `absent` on.

    A few numbers of all entries at a time: it takes a third of the time that all numbers of an entry at a time do.
    """
    end = len(entries)
    for row in range(absent, end):
        out[0, row] = purchases[entries[row]]
    for row in range(absent, end):
        entry, count = entries[row], out[0, row]
        since_last, since_first = (time - last_at[entry]) / DAY, (time - first_at[entry]) / DAY
        gap = (last_at[entry] - first_at[entry]) / DAY / (count - np.float32(1))
        since_last, since_first = (since_last, since_first) if count > 0 else (math.nan, math.nan)
        gap = gap if count > 1 else math.nan
        out[1, row], out[2, row], out[3, row] = since_last, since_first, gap
        out[4, row] = since_last / gap if gap > 0 else math.nan
    for row in range(absent, end):
        out[5, row], out[6, row] = out[0, row] / of_user, out[0, row] / orders
    for row in range(absent, end):
        entry = entries[row]
        out[7, row], out[8, row] = recent[entry] * decays[0], steady[entry] * decays[1]
        out[9, row] = interest[entry] * decays[2]


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
def _of_both(out: Any, row: int, gap: Any, category: Any, subcategory: Any) -> None:
    """The CROSS_NUMBERS of the user and the item, by their purchases of the item, its category and subcategory."""
    count, since_last = out[0, row], out[1, row]
    out[_A_LEVEL, row] = _finite(since_last / gap)
    out[_A_LEVEL + 1, row] = _finite(count / subcategory)
    out[_A_LEVEL + 2, row] = _finite(count / category)


@numba.njit(cache=True)
def _hashed(ends: Any, keys: Any, room: Any) -> Any:
    """Entries of a history in a table of open addressing, int32 (2^k,), -1 where there is none; in a part of `room`.

    A key, whose bits are a hash's, begins at as many slots behind its own as its level is; levels may share keys. There
    are many slots: a processor that finds the first one as it guessed, mostly empty, does not lose its way.
    """
    size = _slots(len(keys))
    slots = room[:size]
    slots[:] = -1
    for level in range(_LEVELS):
        for entry in range(ends[level], ends[level + 1]):
            slot = (keys[entry] + level) & (size - 1)
            while slots[slot] >= 0:
                slot = (slot + 1) & (size - 1)
            slots[slot] = entry
    return slots


@numba.njit(cache=True)
def _slots(entries: int) -> int:
    """Slots of a table of so many entries, a power of 2."""
    size = 16
    while size < SLOTS * entries:
        size *= 2
    return size


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
def _find(
    ends: Any, keys: Any, purchases: Any, facts: Any, positions: Any, slots: Any, first: int, rows: Any, hits: Any,
    counts: Any,
) -> None:  # fmt: skip
    """Which affinities a user's items have, and of what entry of the history each is.

    slots: see `_hashed`. first: place of the user's first item among all. rows: int32 (n, levels), becomes the rows of
    each item. hits: int64 (levels + 1, room), becomes the entry that each row is of, at each level, and which item of
    all a row of level 0 is of. counts: int64 (levels,), rows so far, which grow.
    """
    for i in range(min(AHEAD, len(positions))):
        prefetch(facts, positions[i], 0)  # type: ignore[call-arg]
    seen = np.zeros(len(keys), np.int32)
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
                        hits[_LEVELS, place] = first + i
            rows[i, level] = place


@numba.njit(cache=True)
def _floats(words: Any, which: int) -> Any:
    """One of a history's arrays of float32, of `words` as in `feature_repo.transforms.History`."""
    m = len(words) // WORDS
    return words[m * (2 * _LONGS + which) : m * (2 * _LONGS + which + 1)].view(np.float32)


@numba.njit(cache=True)
def _longs(words: Any, which: int) -> Any:
    """One of a history's arrays of int64."""
    m = len(words) // WORDS
    return words[2 * m * which : 2 * m * (which + 1)].view(np.int64)


@numba.njit(cache=True, error_model="numpy")
def _fill(
    of_items: Any, of_categories: Any, of_users: Any, begins: Any, hits: Any, rows: Any, times: Any, numbers: Any,
    user_times: Any, decays: Any, ends: Any, words: Any, halves: Any, positions: Any,
) -> None:  # fmt: skip
    """The tables of `affinities`. begins (users + 1, levels): where each user's rows begin in them. rows, hits: see
    `_find`."""
    for level in range(_LEVELS):
        out = of_categories[level - 1] if level else of_items[0]
        for row in range(ABSENT_ROWS if level == 0 else 1):
            _absent(out, row)
    for row in range(ABSENT_ROWS):
        _of_both(of_items[0], row, np.float32(1), np.float32(row & 1), np.float32(row >> 1))
    at = 0
    for user in range(len(times)):
        time, mine = times[user], words[at : at + WORDS * ends[user, _LEVELS]]
        for level in range(_LEVELS):
            _affinities(
                of_categories[level - 1] if level else of_items[0], begins[user, level],
                hits[level, : begins[user + 1, level]], time, numbers[user, _ORDERS], numbers[user, _PURCHASES],
                decays[user], _longs(mine, 1), _longs(mine, 2), _floats(mine, 0), _floats(mine, 1), _floats(mine, 2),
                _floats(mine, 3),
            )  # fmt: skip
        for row in range(begins[user, 0], begins[user + 1, 0]):
            i = hits[_LEVELS, row]
            category, subcategory = of_categories[0, 0, rows[i, 1]], of_categories[1, 0, rows[i, 2]]
            _of_both(of_items[0], row, halves[positions[i], 2 * GAP], category, subcategory)
        _of_user(of_users[user], 0, time, numbers[user, _USER_GAP], user_times[user])
        at += len(mine)


_PARTS: Any = numba.types.Tuple(  # type: ignore[no-untyped-call]
    (_array(_f4, 3), _array(_f4, 3), _array(_i4, 2), _array(_f4, 2), _array(_f4, 2))
)


@numba.njit(  # type: ignore[untyped-decorator]
    _PARTS(
        _vector(_i8), _table(_f4), _table(_i8), _table(_f4), _table(_i8), _vector(numba.types.uint32),
        FACTS_TYPE, _table(_f4), _vector(_i8), _vector(_i8),
    ),
    cache=True, error_model="numpy", nogil=True,
)  # fmt: skip
def affinities(
    times: Any, numbers: Any, user_times: Any, decays: Any, ends: Any, words: Any,
    facts: Any, halves: Any, positions: Any, items_end: Any,
) -> Any:  # fmt: skip
    """Pair and cross features of users' items at `positions` (n,), one user's behind the other's, what they share held
    once: see `feature_repo.transforms.Affinities`.

    A category or subcategory of a history has one row, however many items are of it; an item has one of its own. What
    was never met has the same rows for all users.

    times (users,): of each request. numbers (users, 18), user_times (users, 3): of the users' rows. decays (users, 3):
    what recent, steady and interest are multiplied by. ends (users, levels + 1), words: the users' histories, one
    behind the other. facts: a table of items, int64 (N, FACTS), and its bytes once more as float32, (N, 2 · FACTS).
    items_end (users,): where each user's items end among the positions.
    """
    count, users = len(positions), len(times)
    rows, hits = np.empty((count, _LEVELS), np.int32), np.empty((_LEVELS + 1, count + ABSENT_ROWS), np.int64)
    counts = np.ones(_LEVELS, np.int64)
    counts[0] = ABSENT_ROWS
    begins, ages = np.empty((users + 1, _LEVELS), np.int64), np.empty((2, count), np.float32)
    slots = np.empty(_slots(ends[:, _LEVELS].max()), np.int32)
    at, first = 0, 0
    for user in range(users):
        begins[user] = counts
        mine = words[at : at + WORDS * ends[user, _LEVELS]]
        keys, end = _longs(mine, 0), items_end[user]
        table = _hashed(ends[user], keys, slots)
        _find(
            ends[user], keys, _floats(mine, 0), facts, positions[first:end], table, first, rows[first:end], hits, counts
        )
        for i in range(first, end):  # now that the facts are in the processor's caches
            ages[0, i], ages[1, i] = _ages(times[user], facts, positions[i])
        at, first = at + len(mine), end
    begins[users] = counts

    of_items = np.empty((1, ROW, counts[0]), np.float32)
    of_categories = np.zeros((_LEVELS - 1, _A_LEVEL, max(counts[1], counts[2])), np.float32)
    of_users = np.empty((users, 3), np.float32)
    _fill(
        of_items, of_categories, of_users, begins, hits, rows, times, numbers, user_times, decays, ends, words, halves,
        positions,
    )  # fmt: skip
    return of_items, of_categories, rows, of_users, ages


@numba.njit(
    numba.types.void(
        numba.types.Array(_f4, 2, "C"), _array(_f4, 3), _array(_f4, 3), _array(_i4, 2), _array(_f4, 2), _array(_f4, 2)
    ),
    cache=True, nogil=True,
)  # fmt: skip
def spread(out: Any, of_items: Any, of_categories: Any, rows: Any, of_users: Any, ages: Any) -> None:
    """Write what `affinities` gives of one user as the pair and cross features of each item, float32 (n, WIDTH)."""
    for i in range(len(out)):
        own = rows[i, 0]
        for j in range(_A_LEVEL):
            out[i, j] = of_items[0, j, own]
            for level in range(1, _LEVELS):
                out[i, level * _A_LEVEL + j] = of_categories[level - 1, j, rows[i, level]]
        for j in range(3):
            out[i, _CROSS + j], out[i, _CROSS + 5 + j] = of_users[0, j], of_items[0, _A_LEVEL + j, own]
        out[i, _CROSS + 3], out[i, _CROSS + 4] = ages[0, i], ages[1, i]


@numba.njit(_i8(FACTS_TYPE, _vector(_i8)), cache=True, nogil=True)
def oldest(facts: Any, positions: Any) -> Any:
    """When the oldest of the rows at `positions` was computed, LATEST where there are none."""
    found = np.int64(LATEST)
    for position in positions:
        found = min(found, facts[position, AT])
    return found


def facts_of(numbers: Any, times: Any, keys: Any, out: Any = None) -> Any:
    """The facts, int64 (n, FACTS), of items' numbers float32 (n, 22), times and keys int64 (n, 3) and (n, ≥ 3).

    AT and ENTRY are left for whoever keeps the items. out: an array to write them to.
    """
    facts = np.zeros((len(keys), FACTS), np.int64) if out is None else out
    facts[:, :_LEVELS] = keys[:, :_LEVELS]
    facts[:, FIRST_AT : LAST_AT + 1] = times[:, 1:3]
    facts.view(np.float32)[:, 2 * GAP] = numbers[:, _ITEM_GAP]
    return facts
