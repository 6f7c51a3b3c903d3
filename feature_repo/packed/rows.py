"""Many rows at once as arrays: no Python object a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from feast.protos.feast.types.Value_pb2 import Value
from zlib_ng.zlib_ng import crc32

from feature_repo.packed.layout import ARRAYS, FIXED, HEAD, MAGIC, VERSION, Block, Layout, sequence_of
from feature_repo.packed.record import RESIDUE, Decoder

I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


class Status(IntEnum):
    """What became of reading a row."""

    FOUND = 0
    MISSING = 1
    CORRUPT = 2
    """The bytes are not a record, or are harmed: read as missing."""
    UNREADABLE = 3
    """The record names a layout that the store does not know: read as missing."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of one layout: their positions (k,), fixed parts uint8 (k, body size), and whole records."""

    layout: Layout
    positions: npt.NDArray[np.intp] | slice
    fixed: npt.NDArray[np.uint8]
    records: Sequence[bytes]

    def nulls(self, columns: Sequence[int]) -> Bools:
        """Whether each of the columns is null, (k, len(columns))."""
        bits = self.fixed[:, HEAD.size : HEAD.size + self.layout.bitmap]
        return np.unpackbits(bits, axis=1, bitorder="little")[:, columns].view(np.bool_)

    def any_null(self) -> bool:
        """Whether any column of any row is null."""
        return bool(self.fixed[:, HEAD.size : HEAD.size + self.layout.bitmap].any())


class Rows:
    """Rows of K entities of one feature view, in the order asked for.

    status: uint8 (K,), a `Status` each. event_time: int64 (K,), µs since 1970 UTC, 0 where there is no row.
    """

    __slots__ = ("_groups", "event_time", "status")

    def __init__(self, records: Sequence[bytes | None], layout_of: Callable[[int], Layout | None]) -> None:
        count = len(records)
        self.status: npt.NDArray[np.uint8] = np.zeros(count, np.uint8)
        self.event_time: I64 = np.zeros(count, np.int64)
        self._groups: list[_Group] = []
        whole: Sequence[bytes] = records  # type: ignore[assignment]
        positions: npt.NDArray[np.intp] | slice = slice(None)
        if not all(records):
            positions = np.array([i for i, r in enumerate(records) if r is not None], np.intp)
            whole = [r for r in records if r is not None]
            self.status[:] = Status.MISSING
            self.status[positions] = Status.FOUND
        if list(map(crc32, whole)).count(RESIDUE) == len(whole):
            self._group(whole, positions, layout_of)
        else:
            places = np.arange(count)[positions]
            sound = [i for i, r in enumerate(whole) if crc32(r) == RESIDUE]
            self.status[places] = Status.CORRUPT
            self.status[places[sound]] = Status.FOUND
            self._group([whole[i] for i in sound], places[sound], layout_of)

    def _group(
        self,
        records: Sequence[bytes],
        positions: npt.NDArray[np.intp] | slice,
        layout_of: Callable[[int], Layout | None],
    ) -> None:
        """Split whole records by their layout."""
        if not records:
            return
        size = len(records[0])
        if set(map(len, records)) == {size}:
            table = np.frombuffer(b"".join(records), np.uint8).reshape(-1, size)
            heads = table[:, :8].view(np.uint64)
            if (heads == heads[0]).all():
                self._add(records, positions, layout_of, table)
                return
        members: dict[bytes, list[int]] = {}
        for i, record in enumerate(records):
            members.setdefault(record[:8], []).append(i)
        places = np.arange(len(self.status))[positions]
        for some in members.values():
            self._add([records[i] for i in some], places[some], layout_of)

    def _add(
        self,
        records: Sequence[bytes],
        positions: npt.NDArray[np.intp] | slice,
        layout_of: Callable[[int], Layout | None],
        table: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Keep records with one head; table: their bytes, where they are of one length."""
        head = records[0][:8]
        if head[:2] != MAGIC:
            self.status[positions] = Status.CORRUPT
            return
        layout = layout_of(int.from_bytes(head[4:], "little")) if head[2] == VERSION else None
        if layout is None:
            self.status[positions] = Status.UNREADABLE
            return
        size = layout.body.size
        if table is None:
            table = np.frombuffer(b"".join([r[:size] for r in records]), np.uint8).reshape(-1, size)
        fixed = table[:, :size]
        self.event_time[positions] = fixed[:, 8:16].view("<i8")[:, 0]
        self._groups.append(_Group(layout, positions, fixed, records))

    def __len__(self) -> int:
        return len(self.status)

    @property
    def found(self) -> Bools:
        """Whether there is a row, (K,)."""
        there: Bools = self.status == Status.FOUND
        return there

    def ages(self, now: float) -> npt.NDArray[np.float64]:
        """Seconds from each row's event time to `now` (seconds since 1970 UTC), (K,); NaN where there is no row."""
        return np.where(self.found, now - self.event_time / 1e6, np.nan)

    def matrix(self, features: Sequence[str], dtype: npt.DTypeLike = np.float32, missing: float | None = None) -> Array:
        """Features as one contiguous array (K, F) of `dtype`.

        A value is `missing` (NaN for floats, 0 otherwise) where there is no row, where it is null, where the row was
        written without that feature, and where it was kept as something that `dtype` cannot mean: text, or a fraction
        for an integer. `present` tells these from values. Integers beyond 2^24 are rounded in float32.
        """
        target = np.dtype(dtype)
        if missing is None:
            missing = np.nan if target.kind == "f" else 0
        names = sequence_of(features)
        if len(self._groups) == 1 and isinstance(self._groups[0].positions, slice):
            return _values(self._groups[0], names, target, missing)
        out: Array = np.full((len(self), len(names)), missing, target)
        for group in self._groups:
            out[group.positions] = _values(group, names, target, missing)
        return out

    def present(self, features: Sequence[str], dtype: npt.DTypeLike = np.float32) -> Bools:
        """Which values `matrix` has from a row, bool (K, F)."""
        names, target = sequence_of(features), np.dtype(dtype)
        out: Bools = np.zeros((len(self), len(names)), np.bool_)
        for group in self._groups:
            plan = _plan(group.layout, names, target)
            if plan.whole and not group.any_null():
                out[group.positions] = True
            elif plan.columns:
                rows = np.zeros((len(group.records), len(names)), np.bool_)
                rows[:, [j for j, _ in plan.columns]] = ~group.nulls([i for _, i in plan.columns])
                out[group.positions] = rows
        return out

    def written_with(self, features: Sequence[str], dtype: npt.DTypeLike = np.float32) -> Bools:
        """Whether each row was written with all of the features, null or not, as what `dtype` can mean, (K,).

        The features are numbers or lists of numbers. A row of another schema may not have been; a missing row was not.
        """
        names, target = sequence_of(features), np.dtype(dtype)
        out: Bools = np.zeros(len(self), np.bool_)
        for group in self._groups:
            out[group.positions] = _has(group.layout, names, target)
        return out

    def arrays(self, feature: str, dtype: npt.DTypeLike) -> list[Array | None]:
        """A list feature of each row as an array of `dtype`, length K; None where there is no row or it is null."""
        if len(self._groups) == 1 and isinstance(self._groups[0].positions, slice):
            return _contents(self._groups[0], feature, np.dtype(dtype))
        out: list[Array | None] = [None] * len(self)
        for group in self._groups:
            places = np.arange(len(self))[group.positions]
            for place, content in zip(places.tolist(), _contents(group, feature, np.dtype(dtype)), strict=True):
                out[place] = content
        return out


@dataclass(frozen=True, slots=True)
class _Plan:
    """How chosen features of a layout become an array of one type.

    copies: block of the fixed part, and columns to and from. floats: whether every null is written as NaN. columns:
    places in the array and in the layout of what can be read. loose: those of them kept as serialized values.
    """

    copies: tuple[tuple[Block, slice | list[int], slice | list[int]], ...]
    floats: bool
    columns: tuple[tuple[int, int], ...]
    loose: tuple[tuple[int, int], ...]
    whole: bool

    @classmethod
    def of(cls, layout: Layout, names: Sequence[str], target: np.dtype[Any]) -> _Plan:
        """The plan of reading features of these names."""
        known = [(j, i) for j, name in enumerate(names) if (i := layout.index.get(name)) is not None]
        columns = [(j, i) for j, i in known if _means(layout, i, target)]
        at = {i: j for j, i in columns}
        copies = []
        for block in layout.blocks:
            if inside := [i for i in block.at if i in at]:
                copies.append((block, _span([at[i] for i in inside]), _span([block.at[i] for i in inside])))
        floats = all(layout.columns[i].kind in _FLOATS for _, i in columns)
        loose = tuple((j, i) for j, i in columns if not layout.columns[i].packed)
        return cls(tuple(copies), floats, tuple(columns), loose, len(columns) == len(names))


def _plan(layout: Layout, names: tuple[str, ...], target: np.dtype[Any]) -> _Plan:
    key = (names, target.str)
    plan = layout.plans.get(key)
    if plan is None:
        plan = layout.plans[key] = _Plan.of(layout, names, target)
    assert isinstance(plan, _Plan)
    return plan


def _has(layout: Layout, names: tuple[str, ...], target: np.dtype[Any]) -> bool:
    """Whether the layout has all the features, as numbers or lists of numbers that the target can hold."""
    key = (names, "has " + target.str)
    known = layout.plans.get(key)
    if known is None:
        columns = [layout.index.get(name) for name in names]
        known = layout.plans[key] = all(
            i is not None and (_means(layout, i, target) or _lists(layout, i, target)) for i in columns
        )
    return bool(known)


def _lists(layout: Layout, column: int, target: np.dtype[Any]) -> bool:
    """Whether values of the column are lists of numbers that the target can hold."""
    known = layout.columns[column]
    return known.packed and known.kind in ARRAYS and _safe(ARRAYS[known.kind], target)


def _means(layout: Layout, column: int, target: np.dtype[Any]) -> bool:
    """Whether values of the column can be read as numbers of the target's kind."""
    kind = layout.columns[column].kind
    return kind in FIXED and _safe(FIXED[kind][1], target)


def _safe(stored: npt.DTypeLike, target: np.dtype[Any]) -> bool:
    return target.kind == "f" or np.can_cast(stored, target, "safe")


def _values(group: _Group, names: tuple[str, ...], target: np.dtype[Any], missing: float) -> Array:
    plan = _plan(group.layout, names, target)
    count = len(group.records)
    out: Array = np.empty((count, len(names)), target) if plan.whole else np.full((count, len(names)), missing, target)
    for block, to, source in plan.copies:
        out[:, to] = block.of(group.fixed)[:, source]
    for j, i in plan.loose:
        out[:, j] = _parsed(group, i, missing)
    # Floats are written as NaN where null; everything else as 0, which is a number.
    if not (plan.floats and np.isnan(missing)) and group.any_null():
        places, columns = [j for j, _ in plan.columns], [i for _, i in plan.columns]
        out[:, places] = np.where(group.nulls(columns), np.array(missing, target), out[:, places])
    return out


_FLOATS = ("float_val", "double_val")


def _span(numbers: list[int]) -> slice | list[int]:
    """The numbers as a slice where they follow one another: NumPy then copies instead of gathering."""
    start = numbers[0]
    return slice(start, start + len(numbers)) if numbers == list(range(start, start + len(numbers))) else numbers


def _parsed(group: _Group, column: int, missing: float) -> list[float]:
    """A column kept as serialized values, a Python number each."""
    name, kind = group.layout.columns[column].name, group.layout.columns[column].kind
    decoder = Decoder(group.layout, [(name, kind)])
    out = []
    for record in group.records:
        value = Value.FromString(decoder.wire(record)[0] or b"")
        own = value.WhichOneof("val")
        out.append(getattr(value, own) if own in FIXED and (own in _FLOATS) <= (kind in _FLOATS) else missing)
    return out


def _contents(group: _Group, feature: str, target: np.dtype[Any]) -> list[Array | None]:
    layout, records = group.layout, group.records
    i = layout.index.get(feature)
    if i is None or not _lists(layout, i, target):
        return [None] * len(records)
    stored = np.dtype(ARRAYS[layout.columns[i].kind])
    place = layout.variable.index(i)
    ends = group.fixed[:, layout.ends_at : layout.ends_at + 4 * len(layout.variable)].view("<u4")
    size, width = layout.body.size, stored.itemsize
    stops = ends[:, place].tolist()
    starts = ends[:, place - 1].tolist() if place else [0] * len(records)
    null = (group.fixed[:, HEAD.size + i // 8] & (1 << i % 8)).tolist()
    return [
        None
        if missing
        else np.frombuffer(record, stored, (stop - start) // width, size + start).astype(target, copy=False)
        for record, start, stop, missing in zip(records, starts, stops, null, strict=True)
    ]
