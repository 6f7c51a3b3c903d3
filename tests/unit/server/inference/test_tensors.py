"""Tensors go over the wire and come back, and what is no tensor is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from server.inference.grpc_service_pb2 import InferTensorContents
from server.inference.tensors import DATATYPES, from_contents, from_raw, to_contents, to_raw

FP32, INT64, BYTES = DATATYPES["tensor(float)"], DATATYPES["tensor(int64)"], DATATYPES["tensor(string)"]
shapes = st.tuples(st.integers(1, 5), st.integers(1, 4))
texts = shapes.flatmap(lambda shape: arrays(object, shape, elements=st.text(max_size=8), fill=st.nothing()))


@given(arrays(np.float32, shapes, elements=st.floats(width=32)))
def test_floats_come_back_missing_ones_too(array: npt.NDArray[Any]) -> None:
    np.testing.assert_array_equal(from_raw(to_raw(array, FP32), FP32, array.shape), array)
    np.testing.assert_array_equal(from_contents(to_contents(array, FP32), FP32, array.shape), array)


@given(arrays(np.int64, shapes))
def test_whole_numbers_come_back(array: npt.NDArray[Any]) -> None:
    np.testing.assert_array_equal(from_raw(to_raw(array, INT64), INT64, array.shape), array)
    np.testing.assert_array_equal(from_contents(to_contents(array, INT64), INT64, array.shape), array)


@given(texts)
def test_texts_come_back(array: npt.NDArray[Any]) -> None:
    np.testing.assert_array_equal(from_raw(to_raw(array, BYTES), BYTES, array.shape), array)
    np.testing.assert_array_equal(from_contents(to_contents(array, BYTES), BYTES, array.shape), array)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has 0 elements, not 2"),
        (b"\1\0\0\0a", "has 1 elements, not 2"),
        (b"\1\0\0\0a" * 3, "has more than 2 elements"),
        (b"\1\0\0\0a\1\0\0", "element 1 does not end"),
        (b"\1\0\0\0a\xff\xff\xff\xffa", "element 1 does not end"),
        (b"\1\0\0\0a\1\0\0\0\xff", "not UTF-8"),
    ],
)
def test_malformed_raw_texts_are_refused(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_raw(content, BYTES, (2, 1))


@given(st.binary(max_size=60), st.integers(1, 4))
def test_any_raw_bytes_are_texts_or_refused(content: bytes, count: int) -> None:
    try:
        found = from_raw(content, BYTES, (count, 1))
    except ValueError:
        return
    assert to_raw(found, BYTES) == content


def test_raw_numbers_must_be_exactly_as_many() -> None:
    with pytest.raises(ValueError, match="has 4 bytes, not 8"):
        from_raw(b"\0" * 4, FP32, (2, 1))


def test_typed_contents_must_be_of_the_datatype_and_as_many() -> None:
    with pytest.raises(ValueError, match="has int64_contents, but FP32 goes into fp32_contents"):
        from_contents(InferTensorContents(int64_contents=[1]), FP32, (1, 1))
    with pytest.raises(ValueError, match="has 1 elements, not 2"):
        from_contents(InferTensorContents(fp32_contents=[1]), FP32, (2, 1))
