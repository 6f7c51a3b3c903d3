"""One row to one packed record and back, a Feast value a feature."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from feast.protos.feast.types.Value_pb2 import Value
from zlib_ng.zlib_ng import crc32  # zlib's own, three times as fast on short records

from feature_repo.packed.layout import ARRAYS, MAGIC, TEXTS, VERSION, Column, Layout, as_kind, value_of, widens
from feature_repo.packed.wire import writer

CRC = struct.Struct("<I")
RESIDUE = 0x2144DF1C
"""CRC-32 of any bytes followed by their own CRC-32: a whole record is checked by one call."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row as Feast hands it over: values by feature, and times in µs since 1970 UTC."""

    values: Mapping[str, Value]
    event_time: int
    created: int


def sealed(body: bytes) -> bytes:
    """The record: its body and the checksum behind it."""
    return body + CRC.pack(crc32(body))


def is_whole(record: bytes) -> bool:
    """Whether the bytes are a record of a format that is known, unharmed."""
    return crc32(record) == RESIDUE and record[:2] == MAGIC and record[2] == VERSION


def are_whole(joined: bytes, count: int) -> bool:
    """Whether records of one length, joined, are all unharmed; one call, for what each would cost.

    A CRC is linear: the checksum of whole records, one behind the other, depends on their number and length alone. A
    single harmed record is found as surely as by its own checksum, for its error is but moved to another place.
    """
    return crc32(joined) == _residue(count, len(joined) // count)


@lru_cache(maxsize=16_384)
def _residue(count: int, size: int) -> int:
    """CRC-32 of so many whole records of a size, joined."""
    if count == 1:
        return RESIDUE
    half = count // 2
    # What the second half finds: the checksum of the first, carried on over as many bytes as it is long.
    zeros = bytes((count - half) * size)
    return _residue(count - half, size) ^ crc32(zeros, _residue(half, size)) ^ crc32(zeros)


def times(record: bytes) -> tuple[int, int]:
    """Event time and created time of a record, µs since 1970 UTC."""
    event, created = struct.unpack_from("<qq", record, 8)
    return event, created


def fitting(layout: Layout, values: Mapping[str, Value]) -> Layout:
    """The layout, or a variant of it where values are of another kind than declared or of features it has not."""
    odd = {
        name
        for name, value in values.items()
        if (kind := value.WhichOneof("val")) not in (None, "null_val")
        and ((i := layout.index.get(name)) is None or layout.columns[i].kind != kind)
    }
    if not odd:
        return layout
    columns = [Column(c.name, c.kind, packed=False) if c.name in odd else c for c in layout.columns]
    more = sorted(odd - layout.index.keys())
    return Layout((*columns, *(Column(name, str(values[name].WhichOneof("val")), packed=False) for name in more)))


def encode(layout: Layout, row: Row) -> bytes:
    """The record of a row, whose values must fit the layout (see `fitting`). A feature without a value is null."""
    nulls = 0
    fixed: dict[int, Any] = {}
    parts: list[bytes] = []
    ends: list[int] = []
    end = 0
    for i, column in enumerate(layout.columns):
        value = row.values.get(column.name)
        kind = None if value is None else value.WhichOneof("val")
        if kind in (None, "null_val"):
            nulls |= 1 << i
            if column.fixed:
                fixed[i] = np.nan if column.kind in ("float_val", "double_val") else 0
            else:
                ends.append(end)
            continue
        assert value is not None
        if column.fixed:
            fixed[i] = getattr(value, column.kind)
        else:
            part = pack(column, value)
            parts.append(part)
            end += len(part)
            ends.append(end)
    head = layout.body.pack(
        MAGIC,
        VERSION,
        layout.fingerprint,
        row.event_time,
        row.created,
        nulls.to_bytes(layout.bitmap, "little"),
        *(fixed[i] for i in layout.order),
        *ends,
    )
    return sealed(b"".join((head, *parts)))


def pack(column: Column, value: Value) -> bytes:
    """The bytes of one value of a variable column."""
    if not column.packed:
        return bytes(value.SerializeToString(deterministic=True))
    content = getattr(value, column.kind)
    if column.kind in TEXTS:
        return bytes(content.encode())
    if column.kind in ARRAYS:
        return np.array(content.val, ARRAYS[column.kind]).tobytes()
    return bytes(content)


def unpack(column: Column, content: bytes) -> Value:
    """The value that `pack` made these bytes of."""
    if not column.packed:
        return Value.FromString(content)
    if column.kind in TEXTS:
        return value_of(column.kind, content.decode())
    if column.kind in ARRAYS:
        value = Value()
        target = getattr(value, column.kind)
        target.SetInParent()  # an empty list is not a null
        target.val.extend(np.frombuffer(content, ARRAYS[column.kind]).tolist())
        return value
    return value_of(column.kind, content)


class Decoder:
    """Reads chosen features of records of one layout, as the kinds that the reader declares.

    A feature the layout has not, or has in a kind that the reader's cannot hold without loss, is None.
    """

    def __init__(self, layout: Layout, wanted: Sequence[tuple[str, str]]) -> None:
        self._layout = layout
        self._readers = [self._reader(name, kind) for name, kind in wanted]

    def _reader(self, name: str, kind: str) -> Callable[[bytes, tuple[Any, ...], int], bytes | None]:
        layout = self._layout
        if (i := layout.index.get(name)) is None:
            return lambda record, fields, nulls: None
        column, bit = layout.columns[i], 1 << i
        if column.fixed:
            if not widens(column.kind, kind):
                return lambda record, fields, nulls: None
            at, write = FIELDS_OF_HEAD + 1 + layout.order.index(i), writer(kind)
            return lambda record, fields, nulls: b"" if nulls & bit else write(fields[at])
        size, place = layout.body.size, layout.variable.index(i)
        end_at = FIELDS_OF_HEAD + 1 + len(layout.order) + place
        keep = kind == column.kind

        def read(record: bytes, fields: tuple[Any, ...], nulls: int) -> bytes | None:
            if nulls & bit:
                return b""
            start = fields[end_at - 1] if place else 0
            value = unpack(column, record[size + start : size + fields[end_at]])
            fit = value if keep else as_kind(value, kind)
            return None if fit is None else bytes(fit.SerializeToString())

        return read

    def wire(self, record: bytes) -> list[bytes | None]:
        """Serialized `Value` of each feature, empty where it is null."""
        fields = self._layout.body.unpack_from(record)
        nulls = int.from_bytes(fields[FIELDS_OF_HEAD], "little")
        return [read(record, fields, nulls) for read in self._readers]


FIELDS_OF_HEAD = 5
"""Fields that unpacking a head gives."""
