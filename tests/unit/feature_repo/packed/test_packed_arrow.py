"""Arrow columns become the values that Feast's own conversion gives, and what cannot be kept is refused by name."""

from __future__ import annotations

import decimal
import json
import random
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    PdfBytes,
    ScalarMap,
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.packed.arrow import Table, encode_batch
from feature_repo.packed.keys import keys_of
from feature_repo.packed.layout import NO_TIME, Layout
from feature_repo.packed.record import Row, encode, is_whole, times
from shoprank.errors import UserError
from tests.packed_values import canonical, decoded

repeatable = settings(derandomize=True, deadline=None, database=None)
NOON = datetime(2024, 5, 6, 12, 0, 0, 123456)
BEFORE_1970 = datetime(1969, 12, 31, 23, 59, 58)


def table(keys: tuple[tuple[str, str], ...] = (("user_id", "int64_val"),), **dtypes: FeastType) -> Table:
    """A view `users` of features of these types."""
    types = {name: dtype.to_value_type() for name, dtype in dtypes.items()}
    return Table("users", Layout.of(dtypes.items()), types, keys, "event_timestamp", None)


def batch(count: int, **columns: Any) -> pa.RecordBatch:
    """A batch of so many users, with the given columns."""
    ids, moments = pa.array(range(count), pa.int64()), pa.array([NOON] * count, pa.timestamp("us", "UTC"))
    return pa.RecordBatch.from_pydict({"user_id": ids, "event_timestamp": moments} | columns)


def kept(dtype: FeastType, column: pa.Array) -> list[bytes]:
    """Each value of a column as it is read back from its record."""
    view = table(it=dtype)
    _, records = encode_batch(view, batch(len(column), it=column))
    assert all(map(is_whole, records))
    return [decoded(view.layout, record)["it"] for record in records]


def by_feast(dtype: FeastType, plain: list[Any]) -> list[bytes]:
    """Each value as Feast's own conversion of plain values has it."""
    return [canonical(value) for value in python_values_to_proto_values(plain, dtype.to_value_type())]


UUIDS = [str(uuid.UUID(int=i)) for i in (1, 2**100)]
CASES: dict[str, tuple[FeastType, pa.Array]] = {
    "int64": (Int64, pa.array([1, None, -(2**63), 2**63 - 1])),
    "int64 of int8": (Int64, pa.array([1, None, -128], pa.int8())),
    "int64 of uint32": (Int64, pa.array([1, None, 2**32 - 1], pa.uint32())),
    "int64 of a whole decimal": (Int64, pa.array([decimal.Decimal("5.00"), None], pa.decimal128(9, 2))),
    "int32": (Int32, pa.array([1, None, -(2**31), 2**31 - 1], pa.int32())),
    "int32 of int64": (Int32, pa.array([1, None, -(2**31), 2**31 - 1])),
    "float32": (Float32, pa.array([1.5, None, -0.0, np.inf, 3.4028234663852886e38], pa.float32())),
    "float32 of float64": (Float32, pa.array([0.1, None, 1e-60])),
    "float64": (Float64, pa.array([0.1, None, 1e308, -np.inf])),
    "float64 of decimal": (Float64, pa.array([decimal.Decimal("1.25"), None], pa.decimal128(9, 2))),
    "bool": (Bool, pa.array([True, None, False])),
    "string": (String, pa.array(["a", None, "", "na\0ïve ☃ \U0001f469"])),
    "large string": (String, pa.array(["a", None, ""], pa.large_string())),
    "string view": (String, pa.array(["a", None, "longer than twelve bytes"], pa.string_view())),
    "dictionary": (String, pa.array(["a", None, "b", "a"]).dictionary_encode()),
    "dictionary with a null in it": (String, pa.DictionaryArray.from_arrays([0, 1, None], ["a", None])),
    "dictionary of numbers": (Int64, pa.array([7, None, 7]).dictionary_encode()),
    "string of integers": (String, pa.array([5, None])),
    "bytes": (Bytes, pa.array([b"\0\xff", None, b""])),
    "large bytes": (Bytes, pa.array([b"\0\xff", None], pa.large_binary())),
    "fixed-size bytes": (Bytes, pa.array([b"ab", None], pa.binary(2))),
    "pdf": (PdfBytes, pa.array([b"%PDF", None])),
    "json text": (Json, pa.array(['{"a": 1}', None, "[]"])),
    "json of structs": (Json, pa.array([{"a": 1, "b": "☃"}, None])),
    "uuid": (Uuid, pa.array([*UUIDS, None])),
    "decimal": (Decimal, pa.array([decimal.Decimal("-1.10"), None], pa.decimal128(20, 2))),
    "decimal text": (Decimal, pa.array(["1e-30", None])),
    "zoned": (ZonedTimestamp, pa.array([NOON, None], pa.timestamp("us", "Europe/Berlin"))),
    "struct": (Struct({"a": Int64, "b": String}), pa.array([{"a": 1, "b": "x"}, {"a": None, "b": None}, None])),
    "structs": (Array(Struct({"a": Int64})), pa.array([[{"a": 1}, {"a": 2}], [], None])),
    "map as text": (Map, pa.array(['{"a": {"b": [1, 2]}}', None])),
    "json list": (Array(Json), pa.array([["1", "{}"], [], None])),
    "int64 list": (Array(Int64), pa.array([[1, 2**63 - 1], [], None, [-1]])),
    "int32 list of int64": (Array(Int32), pa.array([[1, -(2**31)], [], None])),
    "float32 list": (Array(Float32), pa.array([[0.5, -np.inf], [], None], pa.list_(pa.float32()))),
    "float32 list of float64": (Array(Float32), pa.array([[0.1], [], None])),
    "float64 list": (Array(Float64), pa.array([[0.1, 1e300], [], None])),
    "float64 large list": (Array(Float64), pa.array([[0.1, 1e300], [], None], pa.large_list(pa.float64()))),
    "embedding of fixed size": (Array(Float32), pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))),
    "bool list": (Array(Bool), pa.array([[True, False], [], None])),
    "string list": (Array(String), pa.array([["a", ""], [], None])),
    "bytes list": (Array(Bytes), pa.array([[b"a", b""], [], None])),
    "timestamp list": (Array(UnixTimestamp), pa.array([[NOON, BEFORE_1970], [], None], pa.list_(pa.timestamp("us")))),
    "uuid list": (Array(Uuid), pa.array([UUIDS, [], None])),
    "decimal list": (Array(Decimal), pa.array([[decimal.Decimal("1.5")], [], None])),
    "int64 list with nulls": (Array(Int64), pa.array([[1, None], [None], None])),
    "float32 list with nulls": (Array(Float32), pa.array([[1.5, None], [], None], pa.list_(pa.float32()))),
    "string list with nulls": (Array(String), pa.array([["a", None], [], None])),
    "bool list with nulls": (Array(Bool), pa.array([[True, None], [], None])),
    "set of one": (Set(Int64), pa.array([[5, 5], [], None])),
    "nested lists": (Array(Array(Int64)), pa.array([[[1, 2], [3]], [], None])),
    "nothing at all": (Int64, pa.nulls(3)),
    "no strings": (String, pa.nulls(3)),
    "no lists": (Array(Float32), pa.nulls(3)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_column_is_kept_as_feasts_own_conversion_has_it(case: str) -> None:
    dtype, column = CASES[case]
    assert kept(dtype, column) == by_feast(dtype, column.to_pylist())


@pytest.mark.parametrize("case", CASES)
def test_a_slice_of_a_column_is_kept_as_its_rows(case: str) -> None:
    dtype, column = CASES[case]
    whole = kept(dtype, column)
    twice = pa.concat_arrays([column, column]) if not pa.types.is_dictionary(column.type) else column
    for start, size in ((1, len(column) - 1), (len(column) - 1, 1), (1, 1)):
        assert kept(dtype, twice.slice(start, size)) == whole[start : start + size]


def test_nulls_in_lists_of_other_rows_do_not_change_the_lists_of_a_slice() -> None:
    column = pa.array([[None], [2**63 - 1, 2**53 + 1], None, [], [5]])
    assert kept(Array(Int64), column.slice(1)) == by_feast(Array(Int64), column.slice(1).to_pylist())
    held = pa.LargeListArray.from_arrays(pa.array([0, 2, 4]), pa.array([1, 2, 3, 4]), mask=pa.array([True, False]))
    assert kept(Array(Int64), held) == by_feast(Array(Int64), [None, [3, 4]])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_timestamps_of_any_unit_and_zone_are_whole_seconds(unit: str, zone: str | None) -> None:
    moments = [datetime(2024, 7, 1, 12), None, BEFORE_1970, datetime(1, 1, 1)]
    if unit == "ns":
        moments.pop()
    aware = [None if m is None else m.replace(tzinfo=UTC) for m in moments]
    expected = [Value() if m is None else Value(unix_timestamp_val=int(m.timestamp())) for m in aware]
    column = pa.array(aware if zone else moments, pa.timestamp(unit, zone))
    assert kept(UnixTimestamp, column) == [canonical(value) for value in expected]
    event = column.drop_null()
    rows = batch(len(event), it=pa.nulls(len(event))).set_column(1, "event_timestamp", event)
    _, records = encode_batch(table(it=Int64), rows)
    assert [times(r)[0] for r in records] == [round(m.timestamp()) * 1_000_000 for m in aware if m is not None]


def test_a_fraction_of_a_second_is_rounded_down_before_1970_too() -> None:
    column = pa.array([1_999_999, -1, -1_000_000, -1_000_001], pa.timestamp("us"))
    seconds = [Value.FromString(v).unix_timestamp_val for v in kept(UnixTimestamp, column)]
    assert seconds == [1, -1, -1, -2]


def test_dates_and_integers_are_timestamps_too() -> None:
    days, whole = pa.array([BEFORE_1970.date(), None]), pa.array([1.7e9, None])
    assert kept(UnixTimestamp, days) == [canonical(Value(unix_timestamp_val=-86_400)), b""]
    assert kept(UnixTimestamp, pa.array([5, None])) == [canonical(Value(unix_timestamp_val=5)), b""]
    assert kept(UnixTimestamp, whole) == [canonical(Value(unix_timestamp_val=1_700_000_000)), b""]


@pytest.mark.parametrize("dtype", [Float32, Float64, Int64, Bool, String, UnixTimestamp])
def test_a_nan_is_a_null(dtype: FeastType) -> None:
    assert kept(dtype, pa.array([np.nan, None, 1.0]))[:2] == [b"", b""]


def test_an_arrow_map_is_a_map() -> None:
    column = pa.array([[("a", "1"), ("b", "2")], [], None], pa.map_(pa.string(), pa.string()))
    assert kept(Map, column) == by_feast(Map, [{"a": "1", "b": "2"}, {}, None])
    assert kept(Array(Map), pa.array([[[("a", "1")]], None], pa.list_(column.type))) == by_feast(
        Array(Map), [[{"a": "1"}], None]
    )


def test_an_arrow_map_of_numbers_is_a_scalar_map() -> None:
    column = pa.array([[(1, "a"), (-2, "b")], [], None], pa.map_(pa.int64(), pa.string()))
    assert kept(ScalarMap, column) == by_feast(ScalarMap, [{1: "a", -2: "b"}, {}, None])


@settings(repeatable, max_examples=60)
@given(st.integers(0, 2**48))
def test_records_are_the_same_bytes_as_encoding_value_by_value_gives(seed: int) -> None:
    rng = random.Random(seed)
    choices = [CASES[case] for case in CASES if not case.startswith("no") and "view" not in case]
    dtypes, columns = {}, {}
    for i in range(rng.randrange(12)):
        dtype, some = rng.choice(choices)
        dtypes[f"f{i}"] = dtype
        columns[f"f{i}"] = some.take(pa.array([rng.randrange(len(some)) for _ in range(7)]))
    view = table(**dtypes)
    micros = [rng.randrange(-(2**55), 2**55) for _ in range(7)]
    moments = pa.array(micros, pa.timestamp("us", "UTC"))
    rows = batch(7, **columns).set_column(1, "event_timestamp", moments)
    keys, records = encode_batch(view, rows.slice(2, 4))
    assert keys == keys_of(["int64_val"], range(2, 6))
    protos = {
        name: python_values_to_proto_values(column.to_pylist(), dtypes[name].to_value_type())
        for name, column in columns.items()
    }
    for i, packed in zip(range(2, 6), records, strict=True):
        values = {name: column[i] for name, column in protos.items()}
        assert packed == encode(view.layout, Row(values, micros[i], NO_TIME))


def test_a_table_of_chunks_is_kept_batch_by_batch() -> None:
    halves = [batch(3, it=pa.array(["a", None, "b"])), batch(3, it=pa.array(["c", "d", None]))]
    view = table(it=String)
    read = [encode_batch(view, half) for half in pa.Table.from_batches(halves).to_batches()]
    joined = encode_batch(view, pa.Table.from_batches(halves).combine_chunks().to_batches()[0])
    assert [record for _, records in read for record in records] == joined[1]


def test_created_times_are_kept_and_may_be_null() -> None:
    view = table(it=Int64)
    view = Table(view.view, view.layout, view.types, view.keys, view.time, "created")
    made = pa.array([NOON, None], pa.timestamp("us"))
    _, records = encode_batch(view, batch(2, it=pa.array([1, 2]), created=made))
    noon = (NOON.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert [times(record) for record in records] == [(noon, noon), (noon, NO_TIME)]


@pytest.mark.parametrize(
    ("kind", "column", "plain"),
    [
        ("string_val", pa.array(["a", "☃"]).dictionary_encode(), ["a", "☃"]),
        ("string_val", pa.array(["a", ""], pa.large_string()), ["a", ""]),
        ("int64_val", pa.array([1, -1], pa.int32()), [1, -1]),
        ("int32_val", pa.array([1, -1]), [1, -1]),
        ("bytes_val", pa.array([b"\0", b""]), [b"\0", b""]),
        ("unix_timestamp_val", pa.array([0, -1], pa.timestamp("s", "UTC")), [0, -1]),
    ],
)
def test_keys_of_any_arrow_type_are_those_of_plain_values(kind: str, column: pa.Array, plain: list[Any]) -> None:
    view, rows = table(keys=(("user_id", kind),), it=Int64), batch(2, it=pa.nulls(2))
    keys, _ = encode_batch(view, rows.set_column(0, "user_id", column))
    assert keys == keys_of([kind], plain)


def test_several_join_keys_are_in_the_order_of_their_names() -> None:
    view = table(keys=(("item_id", "string_val"), ("user_id", "int64_val")), it=Int64)
    keys, _ = encode_batch(view, batch(2, it=pa.nulls(2), item_id=pa.array(["a", "b"])))
    assert keys == keys_of(["string_val", "int64_val"], [("a", 0), ("b", 1)])


@pytest.mark.parametrize(
    ("dtype", "column"),
    [
        (Float64, pa.array(["five"])),
        (Float32, pa.array([[1.5]])),
        (Int64, pa.array([1.5])),
        (Int64, pa.array(["1.5"])),
        (Int64, pa.array([2**63], pa.uint64())),
        (Int64, pa.array([decimal.Decimal("1.5")])),
        (Int32, pa.array([2**31])),
        (Bool, pa.array(["perhaps"])),
        (String, pa.array([["a"]])),
        (String, pa.array([b"\xff"])),
        (Bytes, pa.array([1])),
        (UnixTimestamp, pa.array(["yesterday"])),
        (UnixTimestamp, pa.array([1.5])),
        (Array(Int64), pa.array([5])),
        (Array(Int64), pa.array([[1.5]])),
        (Array(Int32), pa.array([[2**31]])),
        (Array(Float32), pa.array([["a"]])),
        (Array(String), pa.array([[1]])),
        (Json, pa.array(["{"])),
        (Decimal, pa.array([1.5])),
        (Map, pa.array(["[1]"])),
        (ZonedTimestamp, pa.array([5])),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_refused_with_view_and_column(dtype: FeastType, column: pa.Array) -> None:
    with pytest.raises(UserError, match=r"users.*it\b"):
        encode_batch(table(it=dtype), batch(1, it=column))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("user_id", pa.array([1, None])),
        ("user_id", pa.array([1.0, np.nan])),
        ("user_id", pa.array(["one", "two"])),
        ("user_id", pa.array([1.5, 2.5])),
        ("user_id", pa.DictionaryArray.from_arrays([0, 1], pa.array([1, None]))),
        ("event_timestamp", pa.array([NOON, None])),
        ("event_timestamp", pa.array([1, 2])),
        ("event_timestamp", pa.array(["noon", "midnight"])),
        ("created", pa.array([True, False])),
    ],
    ids=str,
)
def test_a_key_or_time_that_is_null_or_none_is_refused_with_view_and_column(name: str, column: pa.Array) -> None:
    view = table(it=Int64)
    if name == "created":
        view = Table(view.view, view.layout, view.types, view.keys, view.time, name)
    columns = dict(zip(batch(2).schema.names, batch(2).columns, strict=True)) | {name: column}
    with pytest.raises(UserError, match=rf"users.*{name}"):
        encode_batch(view, pa.RecordBatch.from_pydict(columns | {"it": pa.nulls(2)}))


@pytest.mark.parametrize("kind", ["unix_timestamp_val", "bytes_val", "int32_val"])
def test_text_that_is_no_such_key_is_refused_with_view_and_column(kind: str) -> None:
    rows = batch(1, it=pa.nulls(1)).set_column(0, "user_id", pa.array([[1]]))
    with pytest.raises(UserError, match=r"users.*user_id"):
        encode_batch(table(keys=(("user_id", kind),), it=Int64), rows)


@pytest.mark.parametrize("name", ["user_id", "event_timestamp", "it"])
def test_a_missing_column_is_refused_with_view_and_column(name: str) -> None:
    rows = batch(1, it=pa.nulls(1))
    with pytest.raises(UserError, match=f"users.*no column {name}"):
        encode_batch(table(it=Int64), rows.drop_columns([name]))


def test_a_batch_without_rows_has_no_records() -> None:
    assert encode_batch(table(it=Int64), batch(0, it=pa.nulls(0))) == ([], [])


def test_offsets_of_zones_do_not_change_the_moment() -> None:
    moment = NOON.replace(tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
    view = table(it=Int64)
    rows = batch(1, it=pa.nulls(1)).set_column(1, "event_timestamp", pa.array([moment]))
    (record,) = encode_batch(view, rows)[1]
    assert times(record)[0] == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_json_text_is_kept_to_the_letter() -> None:
    text = json.dumps({"b": 1, "a": "☃"}, indent=3)
    (content,) = kept(Json, pa.array([text]))
    assert Value.FromString(content).json_val == text
