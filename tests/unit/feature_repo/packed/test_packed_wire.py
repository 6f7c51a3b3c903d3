"""What is written in protobuf's wire format by hand is what protobuf itself reads and writes."""

from __future__ import annotations

import random

import pytest
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.packed.layout import FIXED, value_of
from feature_repo.packed.wire import sized, varint, writer
from tests.packed_values import canonical, content

repeatable = settings(derandomize=True, deadline=None, database=None)


@pytest.mark.parametrize("kind", FIXED)
def test_a_number_is_written_as_protobuf_writes_it(kind: str) -> None:
    rng, write = random.Random(kind), writer(kind)
    for _ in range(2_000):
        number = content(rng, kind.removesuffix("_val"))
        assert write(number) == value_of(kind, number).SerializeToString()


@settings(repeatable, max_examples=300)
@given(st.integers(-(2**63), 2**63 - 1))
def test_a_varint_is_read_back_by_protobuf(number: int) -> None:
    tag = Value(int64_val=1).SerializeToString()[:1]
    assert Value.FromString(tag + varint(number)).int64_val == number


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 70_000])
def test_content_of_any_size_is_read_back_by_protobuf(size: int) -> None:
    tag = Value(string_val="").SerializeToString()[:1]
    assert Value.FromString(tag + sized(b"x" * size)).string_val == "x" * size
    assert tag + sized(b"x" * size) == canonical(Value(string_val="x" * size))
