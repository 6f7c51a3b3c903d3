"""Retrieval, compiled: sparse sums over a user's history, and the fusion of ranked lists.

Items are positions in the catalogue of N items. What is summed by item lies in dense arrays of those met; `slots`,
int32 (N,), zeros, says where an item's entry is, from 1, and is zeros again when a function returns.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_types = numba.types
_longs = _types.Array(_types.int64, 1, "C", readonly=True)
_ints = _types.Array(_types.int32, 1, "C", readonly=True)
_floats = _types.Array(_types.float32, 1, "C", readonly=True)
_slots = _types.Array(_types.int32, 1, "C")
_SCORED: Any = _types.Tuple((_types.int32[::1], _types.float32[::1]))  # type: ignore[no-untyped-call]
_FUSED: Any = _types.Tuple((_types.int32[::1], _types.float32[::1], _types.uint32[::1], _types.int32[::1]))  # type: ignore[no-untyped-call]
_CELLS: Any = _types.UniTuple(_floats, 4)  # type: ignore[no-untyped-call]


@numba.njit(_types.void(_longs, _longs, _ints, _types.int64, _slots), cache=True, nogil=True)
def find_keys(wanted: Any, keys: Any, starts: Any, shift: int, out: Any) -> None:
    """Places of `wanted` among keys, ascending; -1 where there is none. starts: where the keys of each value of their
    bits above `shift` begin."""
    for i in range(len(wanted)):
        bucket = wanted[i] >> shift
        out[i] = -1
        for at in range(starts[bucket], starts[bucket + 1]):
            if keys[at] == wanted[i]:
                out[i] = at
                break


@numba.njit(_SCORED(_ints, _ints, _floats, _ints, _floats, _slots), cache=True, nogil=True)  # type: ignore[untyped-decorator]
def gather(indptr: Any, indices: Any, data: Any, rows: Any, weights: Any, slots: Any) -> Any:
    """Items of the given rows of a CSR matrix, and the sums of their entries times the rows' weights."""
    room = np.int64(0)
    for row in rows:
        room += indptr[row + 1] - indptr[row]
    items, sums, count = np.empty(room, np.int32), np.empty(room, np.float32), 0
    for i in range(len(rows)):
        weight = weights[i]
        for at in range(indptr[rows[i]], indptr[rows[i] + 1]):
            item = indices[at]
            slot = slots[item]
            if slot == 0:
                items[count], sums[count] = item, weight * data[at]
                count += 1
                slots[item] = count
            else:
                sums[slot - 1] += weight * data[at]
    for i in range(count):
        slots[items[i]] = 0
    return items[:count], sums[:count]


@numba.njit(_FUSED(_ints, _ints, _floats, _types.float64, _slots), cache=True, nogil=True)  # type: ignore[untyped-decorator]
def fuse(lists: Any, ends: Any, weights: Any, offset: float, slots: Any) -> Any:
    """Ranked lists of items, one behind the other, as one: by the sum of weight / (offset + rank), ranks from 0.

    Returns distinct items (m,), their sums, a bit for each list that has the item, and the list that ranks it highest.
    """
    items, sums = np.empty(len(lists), np.int32), np.empty(len(lists), np.float32)
    bits, first, best = np.empty(len(lists), np.uint32), np.empty(len(lists), np.int32), np.empty(len(lists), np.int32)
    count, start = 0, 0
    for source in range(len(ends)):
        for rank in range(ends[source] - start):
            item = lists[start + rank]
            gain = np.float32(weights[source] / (offset + rank))
            slot = slots[item] - 1
            if slot < 0:
                slot = count
                count += 1
                slots[item] = count
                items[slot], sums[slot], bits[slot], best[slot], first[slot] = item, 0, 0, rank, source
            sums[slot] += gain
            bits[slot] |= np.uint32(1) << np.uint32(source)
            if rank < best[slot]:
                best[slot], first[slot] = rank, source
        start = ends[source]
    for i in range(count):
        slots[items[i]] = 0
    return items[:count], sums[:count], bits[:count], first[:count]


@numba.njit(cache=True)
def _cell(value: Any, edges: Any) -> int:
    """Number of edges, ascending, that the value has reached."""
    count = 0
    for edge in edges:
        count += edge <= value
    return count


@numba.njit(
    _types.float32[::1](
        _types.Array(_types.float32, 4, "C", readonly=True), _CELLS, _longs, _longs, _floats, _floats, _types.int64
    ),
    cache=True,
    nogil=True,
)
def rates_of(rates: Any, edges: Any, first_at: Any, last_at: Any, purchases: Any, steady: Any, time: int) -> Any:
    """The rate of buying again, (n,), of items bought; 0 for those that were not. The cells are those of
    `training.retrieval.repeat.Pairs`."""
    out = np.zeros(len(purchases), np.float32)
    for i in range(len(purchases)):
        if purchases[i] <= 0:
            continue
        since, rhythm = (time - last_at[i]) / 86_400.0, 0
        if purchases[i] > 1:
            gap = (last_at[i] - first_at[i]) / 86_400.0 / (purchases[i] - 1)
            rhythm = 1 + _cell(since / max(gap, 0.5), edges[2])
        out[i] = rates[_cell(purchases[i], edges[0]), _cell(since, edges[1]), rhythm, _cell(steady[i], edges[3])]
    return out


@numba.njit(_types.int32[::1](_ints, _ints, _floats, _ints, _floats, _ints, _slots), cache=True, nogil=True)
def contributors(indptr: Any, indices: Any, data: Any, rows: Any, weights: Any, wanted: Any, slots: Any) -> Any:
    """For each of the items `wanted`, distinct, which place of `rows` gave most of its sum in `gather`; -1 for none."""
    found, most = np.full(len(wanted), -1, np.int32), np.zeros(len(wanted), np.float32)
    for i in range(len(wanted)):
        slots[wanted[i]] = i + 1
    for i in range(len(rows)):
        for at in range(indptr[rows[i]], indptr[rows[i] + 1]):
            slot = slots[indices[at]] - 1
            if slot >= 0 and weights[i] * data[at] > most[slot]:
                found[slot], most[slot] = i, weights[i] * data[at]
    for i in range(len(wanted)):
        slots[wanted[i]] = 0
    return found
