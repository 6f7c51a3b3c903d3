"""The columns of a ranking's reply, written in one compiled pass: ids, and three packed fields of floats."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from feature_repo.pairs import ENTRY, FACTS_TYPE
from feature_repo.prefetch import prefetch
from server.wire import OFFSET_BITS, SIZE

AHEAD = 8
"""Ids that are asked for ahead of the one that is written."""
LENGTH_DELIMITED = 2
PROBABILITIES, PURCHASES, LOGITS = 2, 3, 4
"""Numbers of the fields `probabilities`, `purchase_probabilities` and `logits` of a RankItemsResponse."""

_types = numba.types
_bytes = _types.Array(_types.uint8, 1, "C", readonly=True)
_longs = _types.Array(_types.int64, 1, "C", readonly=True)
_floats = _types.Array(_types.float32, 1, "C", readonly=True)


@numba.njit(
    _types.Array(_types.float32, 1, "C")(_floats, _longs, _types.float64),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def softmax_of(logits: Any, chosen: Any, temperature: float) -> Any:
    """Softmax over all logits (n,), of those at `chosen` (k,), float32 (k,); see `scoring.softmax`."""
    largest = np.float64(-np.inf)
    for logit in logits:
        largest = max(largest, np.float64(logit))
    powers, total = np.empty(len(logits), np.float64), 0.0
    for i in range(len(logits)):
        powers[i] = math.exp((np.float64(logits[i]) - largest) / temperature)
        total += powers[i]
    out = np.empty(len(chosen), np.float32)
    for i in range(len(chosen)):
        out[i] = powers[chosen[i]] / total
    return out


@numba.njit(cache=True)
def _size(size: int) -> int:
    """Bytes of a varint."""
    count = 1
    while size >= 128:
        size >>= 7
        count += 1
    return count


@numba.njit(cache=True)
def _packed(out: Any, at: int, number: int, values: Any) -> Any:
    """Write a packed field of floats; returns where it ends."""
    out[at] = number << 3 | LENGTH_DELIMITED
    at += 1
    size = 4 * len(values)
    while size >= 128:
        out[at] = size & 127 | 128
        size >>= 7
        at += 1
    out[at] = size
    at += 1
    end = at + 4 * len(values)
    out[at:end] = values.view(np.uint8)
    return end


@numba.njit(
    _types.Array(_types.uint8, 1, "C")(_longs, _longs, FACTS_TYPE, _bytes, _floats, _floats, _types.float64),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def ranked_columns(
    chosen: Any, positions: Any, facts: Any, entries: Any, purchases: Any, logits: Any, temperature: float
) -> Any:
    """The fields of the items at `positions[chosen]`, k of n, uint8: their ids, softmax over all n, the other columns.

    facts, entries: see `server.items.Shelf`. purchases, logits: float32 (n,).
    """
    count = len(chosen)
    places = np.empty(count, np.int64)
    size = np.int64(3 * (1 + _size(4 * count) + 4 * count))
    for i in range(count):
        places[i] = facts[positions[chosen[i]], ENTRY]
        size += places[i] & SIZE
    out, at, lines = np.empty(size, np.uint8), 0, entries.reshape(1, -1)
    for i in range(min(AHEAD, count)):
        prefetch(lines, 0, places[i] >> OFFSET_BITS)  # type: ignore[call-arg]
    for i in range(count):
        if i + AHEAD < count:
            prefetch(lines, 0, places[i + AHEAD] >> OFFSET_BITS)  # type: ignore[call-arg]
        offset, length = places[i] >> OFFSET_BITS, places[i] & SIZE
        for j in range(length):
            out[at + j] = entries[offset + j]
        at += length
    of_purchases, of_logits = np.empty(count, np.float32), np.empty(count, np.float32)
    for i in range(count):
        of_purchases[i], of_logits[i] = purchases[chosen[i]], logits[chosen[i]]
    at = _packed(out, at, PROBABILITIES, softmax_of(logits, chosen, temperature))
    at = _packed(out, at, PURCHASES, of_purchases)
    _packed(out, at, LOGITS, of_logits)
    return out
