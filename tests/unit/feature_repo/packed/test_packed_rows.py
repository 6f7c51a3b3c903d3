"""Rows read as arrays hold what reading one value after another gives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.packed.layout import ARRAYS, FIXED, NO_TIME, Column, Layout
from feature_repo.packed.record import Row, encode, fitting, sealed
from feature_repo.packed.rows import Rows, Status
from tests.packed_values import KINDS, row, value

seeds = st.integers(0, 2**48)
repeatable = settings(derandomize=True, deadline=None, database=None)
NAMES = [f"f{i}" for i in range(12)]
DTYPES = (np.float32, np.float64, np.int64, np.int32, np.bool_)
Dtype = Any


@dataclass
class Stored:
    """A row as it was written; None where there is none that can be read."""

    layout: Layout
    row: Row


@dataclass
class Case:
    """Records to read, what each status should be, what was written, and the layouts that the store knows."""

    records: list[bytes | None]
    statuses: list[Status]
    stored: list[Stored | None]
    layouts: dict[int, Layout]

    @classmethod
    def drawn(cls, rng: random.Random, kinds: Sequence[str], harm: bool = True) -> Case:
        """Rows of up to three schemas and their variants, some of them missing, harmed or of an unknown layout."""
        schemas = [
            Layout(tuple(Column.declared(n, rng.choice(kinds)) for n in rng.sample(NAMES, rng.randrange(1, 12))))
            for _ in range(rng.choice([1, 1, 3]))
        ]
        case, odd, nulls = cls([], [], [], {}), rng.random() < 0.3, rng.choice([0.0, 0.3])
        for _ in range(rng.randrange(20)):
            schema = rng.choice(schemas)
            one = row(rng, schema, nulls)
            if odd and rng.random() < 0.5:
                values = {**one.values, rng.choice(schema.columns).name: value(rng, rng.choice(kinds))}
                one = Row(values, one.event_time, one.created)
                schema = fitting(schema, values)
            case.add(rng, schema, one, rng.random() if harm else 1.0)
        return case

    def add(self, rng: random.Random, schema: Layout, one: Row, luck: float) -> None:
        """Add a row, which is missing, harmed or of an unknown layout where luck is out."""
        packed = encode(schema, one)
        if luck < 0.05:
            self._append(None, Status.MISSING, None)
        elif luck < 0.1:
            self._append(rng.choice([b"", b"\0" * 4, packed[:-1], packed + b"\0", b"text"]), Status.CORRUPT, None)
        elif luck < 0.15:
            strange = Layout((Column.declared("strange", "int64_val"),))
            self._append(encode(strange, Row({}, 0, 0)), Status.UNREADABLE, None)
        else:
            self.layouts[schema.fingerprint] = schema
            self._append(packed, Status.FOUND, Stored(schema, one))

    def _append(self, packed: bytes | None, status: Status, stored: Stored | None) -> None:
        self.records.append(packed)
        self.statuses.append(status)
        self.stored.append(stored)

    def rows(self) -> Rows:
        """What is to be tested."""
        return Rows(self.records, self.layouts.get)


def holds(kind: str, dtype: Dtype) -> bool:
    """Whether numbers of a kind can be read as the type: anything as a float, no float as an integer."""
    stored = FIXED.get(kind)
    return stored is not None and (np.dtype(dtype).kind == "f" or np.can_cast(stored[1], dtype, "safe"))


def number(stored: Stored | None, feature: str, dtype: Dtype) -> Any | None:
    """A feature of one row as a number of the type; None where it has none that the type can mean."""
    if stored is None or feature not in stored.layout.index:
        return None
    declared = stored.layout.columns[stored.layout.index[feature]].kind
    one = stored.row.values.get(feature, Value())
    kind = one.WhichOneof("val")
    if kind in (None, "null_val") or not holds(declared, dtype) or not holds(str(kind), dtype):
        return None
    return np.array(getattr(one, str(kind)), FIXED[str(kind)][1]).astype(dtype)


def listed(stored: Stored | None, feature: str, dtype: Dtype) -> npt.NDArray[Any] | None:
    """A list feature of one row; None where there is none that the type can mean."""
    if stored is None or feature not in stored.layout.index:
        return None
    column, one = stored.layout.columns[stored.layout.index[feature]], stored.row.values.get(feature, Value())
    element = ARRAYS.get(column.kind)
    readable = element is not None and (np.dtype(dtype).kind == "f" or np.can_cast(element, dtype, "safe"))
    if one.WhichOneof("val") != column.kind or not column.packed or not readable:
        return None
    return np.array(getattr(one, column.kind).val, element).astype(dtype)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kinds", [tuple(FIXED), ("float_val",), ("int64_val", "float_val"), KINDS])
@settings(repeatable, max_examples=60)
@given(seed=seeds)
def test_a_matrix_holds_what_reading_value_by_value_gives(kinds: tuple[str, ...], dtype: Dtype, seed: int) -> None:
    rng = random.Random(seed)
    case = Case.drawn(rng, kinds)
    rows = case.rows()
    for missing in (None, 1):
        asked = rng.sample(NAMES, rng.randrange(len(NAMES) + 1))
        if rng.random() < 0.3:
            asked += asked[:3]
        absent = (np.nan if np.dtype(dtype).kind == "f" else 0) if missing is None else missing
        slow = [[number(stored, name, dtype) for name in asked] for stored in case.stored]
        shape = (len(case.records), len(asked))
        expected = np.array([[absent if v is None else v for v in line] for line in slow], dtype).reshape(shape)
        read = rows.matrix(asked, dtype, missing)
        assert read.dtype == dtype
        assert read.flags.c_contiguous
        np.testing.assert_array_equal(read, expected)
        there = np.array([[v is not None for v in line] for line in slow], bool).reshape(shape)
        np.testing.assert_array_equal(rows.present(asked, dtype), there)


@settings(repeatable, max_examples=150)
@given(seeds)
def test_status_times_and_ages_tell_rows_that_are_there_from_those_that_are_not(seed: int) -> None:
    case = Case.drawn(random.Random(seed), tuple(FIXED))
    rows = case.rows()
    assert len(rows) == len(case.records)
    assert rows.status.tolist() == case.statuses
    assert rows.found.tolist() == [s is not None for s in case.stored]
    assert rows.event_time.tolist() == [0 if s is None else s.row.event_time for s in case.stored]
    ages = [np.nan if s is None else 1e9 - s.row.event_time / 1e6 for s in case.stored]
    np.testing.assert_array_equal(rows.ages(1e9), np.array(ages, np.float64))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", DTYPES)
@settings(repeatable, max_examples=60)
@given(seed=seeds)
def test_lists_are_arrays_of_what_was_written(dtype: Dtype, seed: int) -> None:
    case = Case.drawn(random.Random(seed), (*ARRAYS, "string_val"))
    rows = case.rows()
    for name in (*NAMES, "nowhere"):
        read = rows.arrays(name, dtype)
        for one, stored in zip(read, case.stored, strict=True):
            expected = listed(stored, name, dtype)
            assert (one is None) == (expected is None)
            if one is not None and expected is not None:
                assert one.dtype == dtype
                np.testing.assert_array_equal(one, expected)


@settings(repeatable, max_examples=60)
@given(seeds)
def test_a_row_was_written_with_the_features_that_its_schema_had(seed: int) -> None:
    rng = random.Random(seed)
    case = Case.drawn(rng, (*FIXED, "int64_list_val", "string_val"))
    asked = rng.sample(NAMES, 2)
    expected = [
        stored is not None
        and all(
            name in stored.layout.index
            and (column := stored.layout.columns[stored.layout.index[name]]).kind != "string_val"
            and (column.packed or column.kind in FIXED)
            for name in asked
        )
        for stored in case.stored
    ]
    assert case.rows().written_with(asked).tolist() == expected


def rows_of(layout: Layout, *values: dict[str, Value]) -> Rows:
    """Rows of these values, in the layout or the variant of it that they need."""
    layouts = [fitting(layout, one) for one in values]
    records = [encode(fit, Row(one, 0, NO_TIME)) for fit, one in zip(layouts, values, strict=True)]
    return Rows(records, {fit.fingerprint: fit for fit in layouts}.get)


def test_a_feature_asked_for_twice_is_in_both_places() -> None:
    rows = rows_of(Layout.of([("a", Float32), ("b", Int64)]), {"a": Value(float_val=1.5), "b": Value(int64_val=2)})
    assert rows.matrix(["a", "b", "a"]).tolist() == [[1.5, 2, 1.5]]
    assert rows.present(["a", "b", "a"]).all()


def test_floats_read_as_integers_are_missing() -> None:
    rows = rows_of(Layout.of([("a", Float64), ("b", Int64)]), {"a": Value(double_val=1.0), "b": Value(int64_val=2)})
    assert rows.matrix(["a", "b"], np.int64, missing=-9).tolist() == [[-9, 2]]
    assert rows.present(["a", "b"], np.int64).tolist() == [[False, True]]


def test_integers_beyond_two_to_the_24th_are_rounded_in_float32() -> None:
    rows = rows_of(Layout.of([("a", Int64)]), {"a": Value(int64_val=2**24 + 1)}, {"a": Value(int64_val=2**63 - 1)})
    assert rows.matrix(["a"]).tolist() == [[2.0**24], [2.0**63]]
    assert rows.matrix(["a"], np.int64).tolist() == [[2**24 + 1], [2**63 - 1]]


def test_text_in_a_column_of_numbers_is_missing_and_not_present() -> None:
    rows = rows_of(Layout.of([("a", Float32)]), {"a": Value(string_val="1.5")}, {"a": Value(float_val=1.5)})
    np.testing.assert_array_equal(rows.matrix(["a"]), np.array([[np.nan], [1.5]], np.float32))
    assert rows.present(["a"]).tolist() == [[False], [True]]


def test_a_number_too_large_for_an_integer_type_is_missing() -> None:
    rows = rows_of(Layout.of([("a", Int32)]), {"a": Value(int64_val=2**40)}, {"a": Value(int32_val=7)})
    assert rows.matrix(["a"], np.int32).tolist() == [[0], [7]]
    assert rows.matrix(["a"], np.int64).tolist() == [[2**40], [7]]


def test_a_nan_that_was_written_is_a_value() -> None:
    rows = rows_of(Layout.of([("a", Float32)]), {"a": Value(float_val=np.nan)}, {})
    assert rows.present(["a"]).tolist() == [[True], [False]]
    np.testing.assert_array_equal(rows.matrix(["a"], missing=0.0), np.array([[np.nan], [0]], np.float32))


def nothing(fingerprint: int) -> Layout | None:
    """A store that knows no layout."""
    return None


def test_no_rows_are_an_empty_matrix() -> None:
    rows = Rows([], nothing)
    assert rows.matrix(["a", "b"]).shape == rows.present(["a", "b"]).shape == (0, 2)
    assert rows.arrays("a", np.int64) == []


@pytest.mark.parametrize("content", [b"", b"abc", b"abcd", b"x" * 50])
def test_bytes_with_their_checksum_are_not_a_row(content: bytes) -> None:
    assert Rows([sealed(content)], nothing).status.tolist() == [Status.CORRUPT]
    assert Rows([sealed(content), sealed(b"others")], nothing).status.tolist() == [Status.CORRUPT] * 2


def test_booleans_and_lists_of_them_are_read_as_booleans() -> None:
    values = {"new": Value(bool_val=True), "seen": Value(), "tags": Value()}
    values["tags"].bool_list_val.val.extend([True, False])
    rows = rows_of(Layout.of([("new", Bool), ("seen", Bool), ("tags", Array(Bool)), ("name", String)]), values)
    assert rows.matrix(["new", "seen", "name"], np.bool_).tolist() == [[True, False, False]]
    (tags,) = rows.arrays("tags", np.bool_)
    assert tags is not None
    assert tags.tolist() == [True, False]
