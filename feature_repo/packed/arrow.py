"""Arrow batches to packed records, a column at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast.feature_view import DUMMY_ENTITY_ID
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from zlib_ng.zlib_ng import crc32

from feature_repo.packed.keys import keys_of
from feature_repo.packed.layout import ARRAYS, FIXED, HEAD, MAGIC, NO_TIME, VERSION, Column, Layout
from feature_repo.packed.record import CRC, pack
from shoprank.errors import UserError

_FIXED_TYPES = {
    "int64_val": pa.int64(),
    "double_val": pa.float64(),
    "int32_val": pa.int32(),
    "float_val": pa.float32(),
    "bool_val": pa.bool_(),
}

_KEY_TYPES = {"string_val": pa.string(), "bytes_val": pa.binary(), "int64_val": pa.int64(), "int32_val": pa.int32()}


@dataclass(frozen=True, slots=True)
class Table:
    """What a feature view's Arrow columns are: its layout, Feast's type of each feature, keys and time columns.

    keys: name and kind of each join key, in the order of their names.
    """

    view: str
    layout: Layout
    types: Mapping[str, ValueType]
    keys: tuple[tuple[str, str], ...]
    time: str
    created: str | None


def encode_batch(table: Table, batch: pa.RecordBatch) -> tuple[list[bytes], list[bytes]]:
    """Keys and records of a batch's rows. A NaN is a null, as Feast's own writers have it.

    Raises UserError naming the view and the column where a value is not of the declared type, or a key or time is null.
    """
    if not batch.num_rows:
        return [], []
    keys = _keys(table, batch)
    body, contents = _bodies(table, batch)
    if not contents:
        return keys, _sealed(body)
    parts = zip(_slices(body), *contents, strict=True)
    records = []
    seal = CRC.pack
    for part in parts:
        record = b"".join(part)
        records.append(record + seal(crc32(record)))
    return keys, records


def _keys(table: Table, batch: pa.RecordBatch) -> list[bytes]:
    columns = []
    for name, kind in table.keys:
        if name == DUMMY_ENTITY_ID and name not in batch.schema.names:  # a view of no entity has one row
            columns.append([""] * batch.num_rows)
            continue
        column = _column(table, batch, name)
        timed = kind == "unix_timestamp_val"
        values = _seconds(table, name, column) if timed else _cast(table, name, column, _KEY_TYPES[kind])
        if values.null_count:
            raise UserError(f"{table.view}: join key {name} is null in {values.null_count} rows")
        columns.append(values.to_pylist())
    ids: Sequence[Any] = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    return keys_of([kind for _, kind in table.keys], ids)


def _bodies(table: Table, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint8], list[list[bytes]]]:
    """Fixed parts uint8 (n, body size), and the bytes of each variable column's values, n each."""
    layout, count = table.layout, batch.num_rows
    body: npt.NDArray[np.uint8] = np.zeros((count, layout.body.size), np.uint8)
    body[:, : HEAD.size] = np.frombuffer(HEAD.pack(MAGIC, VERSION, layout.fingerprint, 0, 0), np.uint8)
    body[:, 8:16] = _bytes(_micros(table, batch, table.time), "<i8")
    created = np.full(count, NO_TIME) if table.created is None else _micros(table, batch, table.created, NO_TIME)
    body[:, 16:24] = _bytes(created, "<i8")
    nulls: npt.NDArray[np.bool_] = np.zeros((count, layout.bitmap * 8), np.bool_)
    contents: list[list[bytes]] = []
    end: npt.NDArray[np.int64] = np.zeros(count, np.int64)
    for i, column in enumerate(layout.columns):
        values = _column(table, batch, column.name)
        if column.fixed:
            array, null = _fixed(table, column, values)
            offset, dtype = layout.offsets[i], FIXED[column.kind][1]
            body[:, offset : offset + np.dtype(dtype).itemsize] = _bytes(array, dtype)
            nulls[:, i] = null
            continue
        pieces = _pieces(table, column, values)
        nulls[:, i] = [p is None for p in pieces]
        contents.append([p or b"" for p in pieces])
        end = end + np.fromiter(map(len, contents[-1]), np.int64, count)
        at = layout.ends_at + 4 * layout.variable.index(i)
        body[:, at : at + 4] = _bytes(end, "<u4")
    body[:, HEAD.size : HEAD.size + layout.bitmap] = np.packbits(nulls, axis=1, bitorder="little")
    return body, contents


def _fixed(table: Table, column: Column, values: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Numbers of a column, and which are null; a null float is NaN, any other null 0."""
    if column.kind == "unix_timestamp_val":
        target, cast = pa.int64(), _seconds(table, column.name, values)
    else:
        target = _FIXED_TYPES[column.kind]
        cast = _cast(table, column.name, values, target)
    if pa.types.is_floating(target):
        array = cast.to_numpy(zero_copy_only=False)  # nulls become NaN
        return array, np.isnan(array)
    null = cast.is_null().to_numpy(zero_copy_only=False)
    return cast.fill_null(False if pa.types.is_boolean(target) else 0).to_numpy(zero_copy_only=False), null


def _pieces(table: Table, column: Column, values: pa.Array) -> list[bytes | None]:
    """The packed bytes of a variable column's values; None where null."""
    if column.packed and column.kind in ("string_val", "bytes_val"):
        kind = pa.large_binary()
        if column.kind == "string_val":
            values = _cast(table, column.name, values, pa.large_string())
        pieces: list[bytes | None] = _cast(table, column.name, values, kind).to_pylist()
        return pieces
    if column.packed and column.kind in ARRAYS and column.kind != "unix_timestamp_list_val":
        element = _FIXED_TYPES[column.kind.replace("_list", "")]
        if _is_list(values.type):
            cast = _cast(table, column.name, values, pa.large_list(element))
            if not cast.flatten().null_count:
                return _elements(cast, np.dtype(ARRAYS[column.kind]))
    return _by_value(table, column, values)


def _elements(lists: pa.LargeListArray, dtype: np.dtype[Any]) -> list[bytes | None]:
    # Flattened, not as `lists.values`: those of a slice are the whole column's, nulls of its other rows among them.
    content = lists.flatten().to_numpy(zero_copy_only=False).astype(dtype, copy=False).tobytes()
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
    bounds = [0, *(np.cumsum(lengths) * dtype.itemsize).tolist()]
    null = lists.is_null().to_numpy(zero_copy_only=False).tolist()
    return [
        None if missing else content[start:stop] for missing, start, stop in zip(null, bounds, bounds[1:], strict=False)
    ]


def _by_value(table: Table, column: Column, values: pa.Array) -> list[bytes | None]:
    """Through Feast's own conversion, a value at a time: for the kinds that have no columnar form here."""
    plain = values.to_pylist(maps_as_pydicts="lossy")
    try:
        protos = python_values_to_proto_values(plain, table.types[column.name])
    except (TypeError, ValueError, AttributeError, AssertionError) as error:
        raise UserError(f"{table.view}.{column.name}: not of its declared type: {error}") from error
    return [_piece(column, value) for value in protos]


def _piece(column: Column, value: Value) -> bytes | None:
    kind = value.WhichOneof("val")
    if kind in (None, "null_val"):
        return None
    assert not column.packed or kind == column.kind
    return pack(column, value)


def _column(table: Table, batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise UserError(f"{table.view}: the source has no column {name}; it has {batch.schema.names}")
    values = batch.column(name)
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _cast(table: Table, name: str, values: pa.Array, target: pa.DataType) -> pa.Array:
    if values.type == target:
        return values
    if pa.types.is_floating(values.type) and not pa.types.is_floating(target):
        values = pa.array(values.to_numpy(zero_copy_only=False), from_pandas=True)  # a NaN becomes a null
    try:
        # Floats may lose precision when they are narrowed, as Feast's may; integers must stay what they are.
        lossless = not pa.types.is_floating(target) and not (
            _is_list(target) and pa.types.is_floating(target.value_type)
        )
        return pc.cast(values, target, safe=lossless)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{table.view}.{name}: {values.type} cannot be kept as {target}: {error}") from error


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _micros(table: Table, batch: pa.RecordBatch, name: str, missing: int | None = None) -> npt.NDArray[np.int64]:
    values = _column(table, batch, name)
    if values.null_count and missing is None:
        raise UserError(f"{table.view}: {name} is null in {values.null_count} rows")
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = _cast(table, name, values, pa.timestamp("us"))
    if not _is_time(values.type):
        raise UserError(f"{table.view}.{name}: {values.type} is not a time")
    filled: npt.NDArray[np.int64] = _ticks(values).fill_null(missing or 0).to_numpy(zero_copy_only=False)
    return filled


def _seconds(table: Table, name: str, values: pa.Array) -> pa.Array:
    """Whole seconds since 1970 UTC, int64, of times, rounded down, or of integers."""
    if not _is_time(values.type):
        return _cast(table, name, values, pa.int64())
    ticks = _ticks(values)
    return pa.array(ticks.fill_null(0).to_numpy() // 1_000_000, mask=ticks.is_null().to_numpy(zero_copy_only=False))


def _ticks(times: pa.Array) -> pa.Array:
    """µs since 1970 UTC, int64."""
    zone = times.type.tz if pa.types.is_timestamp(times.type) else None
    return times.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _bytes(array: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.uint8]:
    typed = np.ascontiguousarray(array.astype(dtype, copy=False))
    return typed.view(np.uint8).reshape(len(typed), typed.dtype.itemsize)


def _slices(body: npt.NDArray[np.uint8]) -> list[bytes]:
    size, content = body.shape[1], body.tobytes()
    return [content[at : at + size] for at in range(0, len(content), size)]


def _sealed(body: npt.NDArray[np.uint8]) -> list[bytes]:
    rows = _slices(body)
    sums = np.fromiter(map(crc32, rows), np.uint32, len(rows))
    return _slices(np.concatenate([body, _bytes(sums, "<u4")], axis=1))
