"""Requests and replies as the bytes they are, compiled: ids are found and written without a Python object each.

What is read here is the common case, of ids of plain ASCII, none twice; everything else is said to be odd, and
protobuf reads it (`parse`), whose word also holds on what is malformed. The encoding is that of
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from feature_repo.pairs import ENTRY, FACTS_TYPE

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

ODD = -1
"""Instead of a number of ids: protobuf must read this request."""
NOWHERE = -1
"""Position of an id that the index does not have."""
GONE = -2
"""Position, in the index, of an id that was taken out."""
MAX_IDS = 8_192
MAX_ID_BYTES = 256
OFFSET_BITS = 16
"""Bits of an item's ENTRY, and of a span, that hold a length; those above hold where it begins."""
SIZE = (1 << OFFSET_BITS) - 1

_FNV_PRIME, _FNV_BASIS = np.uint64(0x100000001B3), np.uint64(0xCBF29CE484222325)  # Fowler–Noll–Vo, FNV-1a
_types = numba.types
_bytes = _types.Array(_types.uint8, 1, "C", readonly=True)
_out = _types.Array(_types.uint8, 1, "C")
_longs = _types.Array(_types.int64, 1, "C")
_longs_read = _types.Array(_types.int64, 1, "C", readonly=True)
_index = _types.Array(_types.int64, 2, "C")


@numba.njit(cache=True)
def _varint(buffer: Any, at: int) -> Any:
    """A varint below 2^35 and where it ends; -1 where there is none."""
    value, shift = np.int64(0), 0
    while at < len(buffer) and shift < 35:
        byte = np.int64(buffer[at])
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    return np.int64(-1), at


@numba.njit(cache=True)
def _hashed(buffer: Any, start: int, end: int) -> Any:
    """A 63-bit hash of bytes, and whether all are ASCII."""
    value, seen = _FNV_BASIS, np.uint8(0)
    for i in range(start, end):
        byte = buffer[i]
        seen |= byte
        value = (value ^ np.uint64(byte)) * _FNV_PRIME
    value ^= value >> np.uint64(32)
    return np.int64(value & np.uint64(0x7FFFFFFFFFFFFFFF)), seen < 128


@numba.njit(cache=True)
def _same(buffer: Any, start: int, size: int, other: Any, at: int) -> bool:
    for i in range(size):  # noqa: SIM110  (Numba compiles no generator expression)
        if buffer[start + i] != other[at + i]:
            return False
    return True


@numba.njit(cache=True)
def _slot_of(buffer: Any, start: int, size: int, hashed: int, index: Any, facts: Any, entries: Any) -> Any:
    """Slot of the index that has the item of this id; NOWHERE where none does."""
    mask, length = len(index) - 1, size + (2 if size < 128 else 3)
    slot = hashed & mask
    while index[slot, 1] != NOWHERE:
        position = index[slot, 1]
        if index[slot, 0] == hashed and position >= 0:
            place = facts[position, ENTRY]
            at = (place >> OFFSET_BITS) + length - size
            if place & SIZE == length and _same(buffer, start, size, entries, at):
                return slot
        slot = (slot + 1) & mask
    return np.int64(NOWHERE)


@numba.njit(cache=True)
def _find(buffer: Any, spans: Any, hashes: Any, index: Any, facts: Any, entries: Any, positions: Any) -> Any:
    """Positions of the ids at `spans`, by their hashes; returns how many are NOWHERE.

    Three passes, each of loads that do not wait for one another: most of them miss the processor's caches.
    """
    count, mask, missing = len(spans), len(index) - 1, 0
    for i in range(count):
        slot = hashes[i] & mask
        positions[i] = index[slot, 1] if index[slot, 0] == hashes[i] else GONE
    places = np.empty(count, np.int64)
    for i in range(count):
        places[i] = facts[positions[i], ENTRY] if positions[i] >= 0 else 0
    for i in range(count):
        start, size = spans[i] >> OFFSET_BITS, spans[i] & SIZE
        length = size + (2 if size < 128 else 3)
        at = (places[i] >> OFFSET_BITS) + length - size
        if places[i] & SIZE != length or not _same(buffer, start, size, entries, at):
            slot = _slot_of(buffer, start, size, hashes[i], index, facts, entries)
            # The slot is read once more: the item may have been taken out meanwhile.
            positions[i] = NOWHERE if slot < 0 else max(index[slot, 1], np.int64(NOWHERE))
            missing += positions[i] < 0
    return missing


@numba.njit(_types.void(_bytes, _longs_read, _index, FACTS_TYPE, _bytes, _longs), cache=True, nogil=True)
def look_up(buffer: Any, spans: Any, index: Any, facts: Any, entries: Any, positions: Any) -> None:
    """Positions (n,) of the items whose ids are at `spans` (n,) of a buffer; NOWHERE for those the index has not."""
    hashes = np.empty(len(spans), np.int64)
    for i in range(len(spans)):
        start = spans[i] >> OFFSET_BITS
        hashes[i], _ = _hashed(buffer, start, start + (spans[i] & SIZE))
    _find(buffer, spans, hashes, index, facts, entries, positions)


@numba.njit(_types.void(_bytes, _longs_read, _index, FACTS_TYPE, _bytes), cache=True)
def take_out(buffer: Any, spans: Any, index: Any, facts: Any, entries: Any) -> None:
    """Let the index forget the items whose ids are at `spans` (n,) of a buffer."""
    for i in range(len(spans)):
        start, size = spans[i] >> OFFSET_BITS, spans[i] & SIZE
        hashed, _ = _hashed(buffer, start, start + size)
        slot = _slot_of(buffer, start, size, hashed, index, facts, entries)
        if slot >= 0:
            index[slot, 1] = GONE


@numba.njit(_types.void(_types.int64, _types.int64, _index, FACTS_TYPE, _bytes), cache=True)
def put_in(first: int, end: int, index: Any, facts: Any, entries: Any) -> None:
    """Let the index know the items at positions `first` to `end`, whose entries are there; a later one hides an earlier
    one of the same id."""
    mask = len(index) - 1
    for position in range(first, end):
        place = facts[position, ENTRY]
        offset, length = place >> OFFSET_BITS, place & SIZE
        head = 2 if length < 130 else 3
        hashed, _ = _hashed(entries, offset + head, offset + length)
        slot = _slot_of(entries, offset + head, length - head, hashed, index, facts, entries)
        if slot < 0:
            slot = hashed & mask
            while index[slot, 1] != NOWHERE:
                slot = (slot + 1) & mask
            index[slot, 0] = hashed
        index[slot, 1] = position


@numba.njit(
    _types.int64(_bytes, _types.int64, _index, FACTS_TYPE, _bytes, _longs, _out),
    cache=True,
    nogil=True,
)
def split(request: Any, field: int, index: Any, facts: Any, entries: Any, found: Any, rest: Any) -> Any:
    """Take a request apart: the ids in its repeated `field`, as positions of items, and everything else into `rest`.

    index, facts, entries: see `server.items.Shelf`. found: int64 (2 · most + 2,), where most is `most_ids(request)`:
    the positions from 0 on, the ids' spans from `most` on, then the number of ids that are NOWHERE, and of the bytes in
    `rest`; a span is where an id starts, above OFFSET_BITS, and its bytes, below. rest: uint8, room for the request.
    Returns the number of ids, or ODD.
    """
    most = (len(found) - 2) // 2
    positions, spans = found[:most], found[most : 2 * most]
    size, at, count, kept = len(request), 0, 0, 0
    slots = 16
    while slots < 2 * len(positions):
        slots *= 2
    seen = np.full(slots, -1, np.int32)
    hashes = np.empty(len(positions), np.int64)
    while at < size:
        start = at
        tag, at = _varint(request, at)
        kind = tag & 7
        if tag < 8:
            return ODD
        if kind == 2:
            length, at = _varint(request, at)
            begin, at = at, at + length
            if length < 0:
                return ODD
        elif kind == 0:
            _, at = _varint(request, at)
        elif kind == 5:
            at += 4
        elif kind == 1:
            at += 8
        else:
            return ODD
        if at > size:
            return ODD
        if tag != (field << 3 | 2):
            rest[kept : kept + at - start] = request[start:at]
            kept += at - start
            continue
        if length == 0 or length > MAX_ID_BYTES or count == MAX_IDS:
            return ODD
        hashed, plain = _hashed(request, begin, at)
        if not plain:
            return ODD
        slot = hashed & (slots - 1)
        while seen[slot] >= 0:
            other = seen[slot]
            like = hashes[other] == hashed and spans[other] & SIZE == length
            if like and _same(request, begin, length, request, spans[other] >> OFFSET_BITS):
                return ODD
            slot = (slot + 1) & (slots - 1)
        seen[slot], hashes[count], spans[count] = count, hashed, begin << OFFSET_BITS | length
        count += 1
    missing = _find(request, spans[:count], hashes[:count], index, facts, entries, positions)
    found[2 * most], found[2 * most + 1] = missing, kept
    return count


def most_ids(request: bytes) -> int:
    """Ids that a request of this size has at most: each takes three bytes or more."""
    return min(len(request) // 3, MAX_IDS) + 1


def spans_of(texts: list[bytes]) -> I64:
    """Spans of the texts where they are put one behind the other."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    return (np.cumsum(sizes) - sizes) << OFFSET_BITS | sizes


@numba.njit(_types.Array(_types.uint8, 1, "C")(_longs_read, _longs_read, FACTS_TYPE, _bytes), cache=True, nogil=True)
def entries_of(chosen: Any, positions: Any, facts: Any, entries: Any) -> Any:
    """The field `item_ids` of a reply: entries of the items at `positions[chosen]`, one behind the other."""
    size = np.int64(0)
    for i in chosen:
        size += facts[positions[i], ENTRY] & SIZE
    out, at = np.empty(size, np.uint8), 0
    for i in chosen:
        place = facts[positions[i], ENTRY]
        offset, length = place >> OFFSET_BITS, place & SIZE
        for j in range(length):
            out[at + j] = entries[offset + j]
        at += length
    return out


def entry(item_id: bytes) -> bytes:
    """The id as an entry of the field `item_ids`, number 1, of a reply."""
    size = len(item_id)
    return b"\x0a" + (bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))) + item_id
