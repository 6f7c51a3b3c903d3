"""What the bytes of a packed record mean: which feature lies where. Every record names its layout by a fingerprint."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import VALUE_TYPE_TO_PROTO_VALUE_MAP
from feast.types import FeastType
from feast.value_type import ValueType

T = TypeVar("T")
Names = tuple[str, ...]

MAGIC = b"\xf7P"
VERSION = 1
HEAD = struct.Struct("<2sBxIqq")
"""Magic, format version, a zero byte, layout fingerprint, event time and created time in µs since 1970 UTC."""

NO_TIME = -(2**63)
"""Created time of a row that has none."""

FIXED: dict[str, tuple[str, str]] = {
    "int64_val": ("q", "<i8"),
    "unix_timestamp_val": ("q", "<i8"),
    "double_val": ("d", "<f8"),
    "int32_val": ("i", "<i4"),
    "float_val": ("f", "<f4"),
    "bool_val": ("?", "|b1"),
}
"""Kinds kept in the fixed block: their struct code and their NumPy type."""

ARRAYS: dict[str, str] = {
    "int64_list_val": "<i8",
    "unix_timestamp_list_val": "<i8",
    "double_list_val": "<f8",
    "int32_list_val": "<i4",
    "float_list_val": "<f4",
    "bool_list_val": "|b1",
}
"""Kinds kept as their elements one behind the other, and the NumPy type of an element."""

TEXTS = frozenset({"string_val", "json_val", "uuid_val", "time_uuid_val", "decimal_val"})
"""Kinds kept as UTF-8."""


KINDS: dict[ValueType, str] = VALUE_TYPE_TO_PROTO_VALUE_MAP | {
    ValueType.ZONED_TIMESTAMP: "zoned_timestamp_val",
    ValueType.PDF_BYTES: "bytes_val",
    ValueType.IMAGE_BYTES: "bytes_val",
}
"""Member of Feast's `Value` for each of its types: its own table leaves some out."""


def fingerprint_of(text: bytes) -> int:
    """32 bits of the BLAKE2b hash of a layout's text."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")


def kind_of(dtype: FeastType) -> str:
    """Name of the member of Feast's `Value` that a feature of this type is kept in, such as `float_val`."""
    return KINDS[dtype.to_value_type()]


@dataclass(frozen=True, slots=True)
class Column:
    """One feature of a layout.

    name: of the feature. kind: member of Feast's `Value` it was declared as. packed: whether it is kept in the form
    of that kind; otherwise as a serialized `Value`, which any value fits in.
    """

    name: str
    kind: str
    packed: bool = True

    @property
    def fixed(self) -> bool:
        """Whether the value lies in the fixed block."""
        return self.packed and self.kind in FIXED

    @classmethod
    def declared(cls, name: str, kind: str) -> Column:
        """The column of a feature of this kind: packed where there is a packed form for it."""
        return cls(name, kind, kind in FIXED or kind in ARRAYS or kind in TEXTS or kind == "bytes_val")


@dataclass(frozen=True)
class Layout:
    """Order, kinds and positions of the columns of a record.

    A record is: head (24 bytes) · null bitmap (bit i of column i, lowest first, padded to 8 bytes) · fixed block
    (8-byte values, then 4-byte, then 1-byte, padded to 4 bytes) · end of each variable value, u32, counted from the
    first one's start · variable values · CRC-32 of everything before it. Numbers are little-endian.
    """

    columns: tuple[Column, ...]
    _plans: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def planned(self, make: Callable[[Layout, Names, np.dtype[Any]], T], names: Names, target: np.dtype[Any]) -> T:
        """What `make` says of reading these columns as this type, made once: readers ask for the same ones again."""
        key = (make, names, target)
        if (plan := self._plans.get(key)) is None:
            plan = self._plans[key] = make(self, names, target)
        known: T = plan
        return known

    @cached_property
    def index(self) -> dict[str, int]:
        """Place of each column."""
        return {c.name: i for i, c in enumerate(self.columns)}

    @classmethod
    def of(cls, fields: Iterable[tuple[str, FeastType]]) -> Layout:
        """The layout of features of these names and types."""
        return cls(tuple(Column.declared(name, kind_of(dtype)) for name, dtype in fields))

    @cached_property
    def text(self) -> str:
        """The layout as JSON, the form in which stores keep it."""
        return json.dumps([[c.name, c.kind, c.packed] for c in self.columns], separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Layout:
        """The layout in JSON."""
        return cls(tuple(Column(*c) for c in json.loads(text)))

    @classmethod
    def kept(cls, text: bytes | None, fingerprint: int) -> Layout | None:
        """The layout that a store keeps under a fingerprint; None where there is none, or it is harmed."""
        return None if text is None or fingerprint_of(text) != fingerprint else cls.parse(text.decode())

    @cached_property
    def fingerprint(self) -> int:
        """What a record names its layout by."""
        return fingerprint_of(self.text.encode())

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Columns of the fixed block, in the order they lie there."""
        fixed = [i for i, c in enumerate(self.columns) if c.fixed]
        return tuple(sorted(fixed, key=lambda i: -np.dtype(FIXED[self.columns[i].kind][1]).itemsize))

    @cached_property
    def variable(self) -> tuple[int, ...]:
        """Columns behind the fixed block, in the order they lie there."""
        return tuple(i for i, c in enumerate(self.columns) if not c.fixed)

    @cached_property
    def bitmap(self) -> int:
        """Length of the null bitmap in bytes."""
        return (len(self.columns) + 63) // 64 * 8

    @cached_property
    def body(self) -> struct.Struct:
        """What lies before the variable values: head, bitmap, fixed block, ends."""
        codes = "".join(FIXED[self.columns[i].kind][0] for i in self.order)
        padding = -struct.calcsize("<" + codes) % 4
        return struct.Struct(f"{HEAD.format}{self.bitmap}s{codes}{padding}x{len(self.variable)}I")

    @cached_property
    def ends_at(self) -> int:
        """Offset of the ends of the variable values."""
        return self.body.size - 4 * len(self.variable)

    @cached_property
    def offsets(self) -> dict[int, int]:
        """Offset of each column of the fixed block."""
        offsets, at = {}, HEAD.size + self.bitmap
        for i in self.order:
            offsets[i] = at
            at += np.dtype(FIXED[self.columns[i].kind][1]).itemsize
        return offsets

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The fixed block as runs of one NumPy type."""
        runs: dict[str, list[int]] = {}
        for i in self.order:
            runs.setdefault(FIXED[self.columns[i].kind][1], []).append(i)
        blocks = []
        for dtype, members in runs.items():
            width = np.dtype(dtype).itemsize
            starts = [self.offsets[i] for i in members]
            # int64 and float64 may lie mixed: a run holds from its first to its last member.
            count = (starts[-1] - starts[0]) // width + 1
            at = {i: (start - starts[0]) // width for i, start in zip(members, starts, strict=True)}
            blocks.append(Block(np.dtype(dtype), starts[0], count, at))
        return tuple(blocks)


@dataclass(frozen=True, slots=True)
class Block:
    """A run of the fixed block read as one NumPy type: where it starts, how many values, which of them is a column."""

    dtype: np.dtype[np.generic]
    offset: int
    count: int
    at: dict[int, int]

    def of(self, fixed: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
        """The run of k records, (k, count), from their fixed parts, uint8 (k, body size)."""
        return fixed[:, self.offset : self.offset + self.count * self.dtype.itemsize].view(self.dtype)


WIDER: dict[str, tuple[str, ...]] = {
    "int64_val": ("int32_val",),
    "double_val": ("float_val", "int32_val"),
}
"""Kinds whose every value a wider kind holds exactly."""


def widens(stored: str, kind: str) -> bool:
    """Whether `kind` holds every value of the stored kind exactly."""
    return stored == kind or stored in WIDER.get(kind, ())


def as_kind(value: Value, kind: str) -> Value | None:
    """The value as one of `kind`: itself, or widened without loss; None where that cannot be."""
    own = value.WhichOneof("val")
    if own is None or own == kind:
        return value
    if widens(own, kind):
        return value_of(kind, getattr(value, own))
    return None


def value_of(kind: str, content: Any) -> Value:
    """Feast's `Value` with its member `kind` set to a plain value."""
    value = Value()
    setattr(value, kind, content)
    return value
