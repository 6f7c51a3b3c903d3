"""A record gives back what was written, and says when it is not whole."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Int32, Int64, Json, PdfBytes, Set, String, ZonedTimestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.packed.layout import NO_TIME, Column, Layout, kind_of
from feature_repo.packed.record import Decoder, Row, are_whole, encode, fitting, is_whole, sealed, times
from feature_repo.packed.view import micros, moment
from tests.packed_values import KINDS, canonical, decoded, layout, record, row, value, written

seeds = st.integers(0, 2**48)
repeatable = settings(derandomize=True, deadline=None, database=None)


@settings(repeatable, max_examples=250)
@given(seeds)
def test_ten_thousand_rows_of_random_schemas_come_back_as_written(seed: int) -> None:
    rng = random.Random(seed)
    schema = layout(rng)
    for nulls in [0.0, 1.0, *[0.2] * 38]:
        one = row(rng, schema, nulls)
        packed = encode(schema, one)
        assert is_whole(packed)
        assert times(packed) == (one.event_time, one.created)
        assert decoded(schema, packed) == written(schema, one.values)


@settings(repeatable, max_examples=250)
@given(st.binary(max_size=60), st.integers(1, 40), st.data())
def test_joined_records_are_whole_until_a_bit_of_them_is_changed(first: bytes, count: int, data: st.DataObject) -> None:
    rng = random.Random(first)
    records = [sealed(first), *(sealed(rng.randbytes(len(first))) for _ in range(count - 1))]
    joined = b"".join(records)
    assert are_whole(joined, count)
    place = data.draw(st.integers(0, len(joined) * 8 - 1))
    harmed = bytearray(joined)
    harmed[place // 8] ^= 1 << place % 8
    assert not are_whole(bytes(harmed), count)


@settings(repeatable, max_examples=100)
@given(st.integers(2, 600), st.integers(1, 30), st.binary(min_size=1, max_size=4))
def test_the_same_harm_to_two_of_many_records_does_not_cancel_out(count: int, size: int, harm: bytes) -> None:
    rng = random.Random(count)
    records = [sealed(rng.randbytes(size)) for _ in range(count)]
    for i in rng.sample(range(count), 2):
        records[i] = bytes(a ^ b for a, b in zip(records[i], harm.ljust(size + 4, b"\1"), strict=True))
    assert not are_whole(b"".join(records), count)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 100])
def test_rows_of_many_columns_come_back_as_written(count: int) -> None:
    rng = random.Random(count)
    for _ in range(20):
        schema = Layout(tuple(Column.declared(f"f{i}", rng.choice(KINDS)) for i in range(count)))
        one = row(rng, schema)
        assert decoded(schema, encode(schema, one)) == written(schema, one.values)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_as_written(kind: str) -> None:
    rng = random.Random(kind)
    schema = Layout((Column.declared("before", "string_val"), Column.declared("it", kind)))
    for _ in range(100):
        values = {"it": value(rng, kind), "before": value(rng, "string_val")}
        assert decoded(schema, encode(schema, Row(values, 0, NO_TIME))) == written(schema, values)


@pytest.mark.parametrize("kind", [k for k in KINDS if k.endswith(("_list_val", "_set_val"))])
def test_an_empty_list_is_not_a_null(kind: str) -> None:
    empty = Value()
    getattr(empty, kind).SetInParent()
    schema = Layout((Column.declared("it", kind),))
    (content,) = Decoder(schema, [("it", kind)]).wire(encode(schema, Row({"it": empty}, 0, NO_TIME)))
    assert content
    assert Value.FromString(content).WhichOneof("val") == kind


@settings(repeatable, max_examples=60)
@given(seeds)
def test_a_row_of_other_kinds_than_declared_comes_back_as_written(seed: int) -> None:
    rng = random.Random(seed)
    schema = layout(rng, most=10)
    for _ in range(5):
        values = dict(row(rng, schema).values)
        for name in rng.sample(sorted(values), rng.randrange(len(values) + 1)):
            values[name] = value(rng, rng.choice(KINDS))
        values["of no schema"] = value(rng, rng.choice(KINDS))
        fit = fitting(schema, values)
        packed = encode(fit, Row(values, 0, NO_TIME))
        assert decoded(fit, packed) == written(fit, values)
        own = [(name, str(v.WhichOneof("val"))) for name, v in values.items() if canonical(v)]
        for (name, _), content in zip(own, Decoder(fit, own).wire(packed), strict=True):
            assert content is not None
            assert canonical(Value.FromString(content)) == canonical(values[name])


def test_a_row_of_the_declared_kinds_needs_no_layout_of_its_own() -> None:
    rng = random.Random(1)
    schema = layout(rng)
    assert fitting(schema, row(rng, schema).values) is schema


def test_a_reader_of_a_wider_kind_reads_what_a_narrower_one_was_written_as() -> None:
    before = Layout.of([("clicks", Int32), ("price", Float32)])
    packed = encode(before, Row({"clicks": Value(int32_val=7), "price": Value(float_val=0.5)}, 0, NO_TIME))
    clicks, price = Decoder(before, [("clicks", "int64_val"), ("price", "double_val")]).wire(packed)
    assert Value.FromString(clicks or b"") == Value(int64_val=7)
    assert Value.FromString(price or b"") == Value(double_val=0.5)


def test_a_reader_of_a_kind_that_cannot_hold_the_value_is_told_that_it_is_absent() -> None:
    schema = Layout.of([("name", String), ("clicks", Int64)])
    packed = encode(schema, Row({"name": Value(string_val="5"), "clicks": Value(int64_val=5)}, 0, NO_TIME))
    asked = [("name", "int64_val"), ("clicks", "int32_val"), ("clicks", "double_val"), ("later", "int64_val")]
    assert Decoder(schema, asked).wire(packed) == [None] * 4


@settings(repeatable, max_examples=20)
@given(seeds)
def test_a_flipped_bit_anywhere_is_noticed(seed: int) -> None:
    rng = random.Random(seed)
    packed = record(rng, layout(rng, most=8))
    for bit in range(8 * len(packed)) if len(packed) < 200 else rng.sample(range(8 * len(packed)), 500):
        harmed = bytearray(packed)
        harmed[bit // 8] ^= 1 << bit % 8
        assert not is_whole(bytes(harmed))


@settings(repeatable, max_examples=20)
@given(seeds)
def test_a_truncated_or_lengthened_record_is_not_whole(seed: int) -> None:
    rng = random.Random(seed)
    packed = record(rng, layout(rng, most=8))
    assert not any(is_whole(packed[:size]) for size in range(len(packed)))
    assert not any(is_whole(packed + more) for more in (b"\0", b"\0\0\0\0", packed))


@settings(repeatable, max_examples=500)
@given(st.binary(max_size=64))
def test_random_bytes_are_not_a_record(content: bytes) -> None:
    assert not is_whole(content)


@settings(repeatable, max_examples=100)
@given(st.binary(max_size=16).filter(lambda b: b[:3] != b"\xf7P\x01"))
def test_bytes_with_their_checksum_are_not_a_record_either(content: bytes) -> None:
    assert not is_whole(sealed(content))


@settings(repeatable, max_examples=300)
@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
def test_times_keep_their_microseconds_before_1970_too(time: datetime) -> None:
    assert moment(micros(time)).replace(tzinfo=None) == time


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    time = datetime.fromisoformat("1969-12-31T23:59:59.999999-03:30")
    assert moment(micros(time)) == time
    assert micros(time) == timedelta(hours=3, minutes=30) // timedelta(microseconds=1) - 1


@settings(repeatable, max_examples=100)
@given(seeds)
def test_a_layout_is_read_back_from_its_text(seed: int) -> None:
    schema = layout(random.Random(seed))
    assert Layout.parse(schema.text) == schema
    assert Layout.parse(schema.text).fingerprint == schema.fingerprint


def test_the_bytes_of_a_record_do_not_change_with_the_code() -> None:
    schema = Layout.of([("clicks", Int64), ("name", String), ("price", Float32), ("trail", Array(Int64))])
    values = {"clicks": Value(int64_val=-2), "name": Value(string_val="é")}
    assert encode(schema, Row(values, 1_000_000, NO_TIME)).hex() == GOLDEN


# Head: magic, version 1, fingerprint, 1 s, no created time. Columns 2 and 3 are null. -2; NaN; ends 2 and 2; é; CRC-32.
GOLDEN = (
    "f75001008fae388c40420f000000000000000000000000800c00000000"
    "000000feffffffffffffff0000c07f0200000002000000c3a9e2345171"
)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (ZonedTimestamp, "zoned_timestamp_val"),
        (PdfBytes, "bytes_val"),
        (Json, "json_val"),
        (Set(String), "string_set_val"),
        (Array(Array(Int64)), "list_val"),
    ],
)
def test_each_type_of_feast_has_a_kind(dtype: object, kind: str) -> None:
    assert kind_of(dtype) == kind
