"""Rows of one layout, and how chosen features of them become arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.packed.layout import ARRAYS, FIXED, HEAD, Block, Layout, Names
from feature_repo.packed.record import Decoder

Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Group:
    """Rows of one layout: their positions (k,), fixed parts uint8 (k, body size), and whole records."""

    layout: Layout
    positions: npt.NDArray[np.intp] | slice
    fixed: npt.NDArray[np.uint8]
    records: Sequence[bytes]

    def nulls(self, columns: Sequence[int]) -> Bools:
        """Whether each of the columns is null, (k, len(columns))."""
        bits = self.fixed[:, HEAD.size : HEAD.size + self.layout.bitmap]
        return np.unpackbits(bits, axis=1, bitorder="little")[:, columns].view(np.bool_)

    @cached_property
    def ends(self) -> list[list[int]]:
        """Offsets in each record of the first variable value, and of the end of each."""
        size, at = self.layout.body.size, self.layout.ends_at
        ends = self.fixed[:, at : at + 4 * len(self.layout.variable)].view("<u4") + np.uint32(size)
        return [[size, *row] for row in ends.tolist()]

    def any_null(self) -> bool:
        """Whether any column of any row is null."""
        return bool(self.fixed[:, HEAD.size : HEAD.size + self.layout.bitmap].any())


@dataclass(frozen=True, slots=True)
class Plan:
    """How chosen features of a layout become an array of one type.

    copies: block of the fixed part, and columns to and from. floats: whether every null is written as NaN. columns:
    places in the array and in the layout of what can be read. loose: those of them kept as serialized values. whole:
    whether all can be read.
    """

    copies: tuple[tuple[Block, slice | list[int], slice | list[int]], ...]
    floats: bool
    columns: tuple[tuple[int, int], ...]
    loose: tuple[tuple[int, int], ...]
    whole: bool

    @classmethod
    def of(cls, layout: Layout, names: Names, target: np.dtype[Any]) -> Plan:
        """The plan of reading features of these names."""
        known = [(j, i) for j, name in enumerate(names) if (i := layout.index.get(name)) is not None]
        columns = [(j, i) for j, i in known if _means(layout, i, target)]
        copies = []
        for block in layout.blocks:
            if inside := [(j, block.at[i]) for j, i in columns if i in block.at]:
                copies.append((block, _span([j for j, _ in inside]), _span([at for _, at in inside])))
        floats = all(layout.columns[i].kind in _FLOATS for _, i in columns)
        loose = tuple((j, i) for j, i in columns if not layout.columns[i].packed)
        return cls(tuple(copies), floats, tuple(columns), loose, len(columns) == len(names))


def has(layout: Layout, names: Names, target: np.dtype[Any]) -> bool:
    """Whether the layout has all the features, as numbers or lists of numbers that the target can hold."""
    columns = [layout.index.get(name) for name in names]
    return all(i is not None and (_means(layout, i, target) or _lists(layout, i, target)) for i in columns)


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


def values(group: Group, names: Names, target: np.dtype[Any], missing: float) -> Array:
    """Features as an array (k, F) of the target's type; see `Rows.matrix`."""
    plan = group.layout.planned(Plan.of, names, target)
    count = len(group.records)
    out: Array = np.empty((count, len(names)), target) if plan.whole else np.full((count, len(names)), missing, target)
    for block, to, source in plan.copies:
        out[:, to] = block.of(group.fixed)[:, source]
    for j, i in plan.loose:
        out[:, j] = [missing if number is None else number for number in parsed(group, i, target)]
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


def parsed(group: Group, column: int, target: np.dtype[Any]) -> list[float | None]:
    """A column kept as serialized values; None where one is null or of a kind that the target cannot mean."""
    known = group.layout.columns[column]
    decoder = Decoder(group.layout, [(known.name, known.kind)])
    out: list[float | None] = []
    for record in group.records:
        value = Value.FromString(decoder.wire(record)[0] or b"")
        own = value.WhichOneof("val")
        if own in FIXED and _safe(FIXED[own][1], target):
            out.append(np.array(getattr(value, own), FIXED[own][1]).astype(target).item())
        else:
            out.append(None)
    return out


def lists(group: Group, feature: str, target: np.dtype[Any]) -> list[Array | None]:
    """A list feature of each row; see `Rows.arrays`."""
    plan = group.layout.planned(_ListPlan.of, (feature,), target)
    if plan.place < 0:
        return [None] * len(group.records)
    place, stored, width, same = plan.place, plan.stored, plan.stored.itemsize, plan.stored == target
    out: list[Array | None] = []
    for record, ends in zip(group.records, group.ends, strict=True):
        if record[plan.null_at] & plan.null_bit:
            out.append(None)
            continue
        start = ends[place]
        array = np.frombuffer(record, stored, (ends[place + 1] - start) // width, start)
        out.append(array if same else array.astype(target))
    return out


@dataclass(frozen=True, slots=True)
class _ListPlan:
    """Where a list feature lies: its place among the variable values (-1: nowhere), its type, its bit of the nulls."""

    place: int
    stored: np.dtype[Any]
    null_at: int
    null_bit: int

    @classmethod
    def of(cls, layout: Layout, names: Names, target: np.dtype[Any]) -> _ListPlan:
        """The plan of reading the one feature as lists of the target's type."""
        (feature,) = names
        i = layout.index.get(feature)
        if i is None or not _lists(layout, i, target):
            return cls(-1, target, 0, 0)
        stored = np.dtype(ARRAYS[layout.columns[i].kind])
        return cls(layout.variable.index(i), stored, HEAD.size + i // 8, 1 << i % 8)
