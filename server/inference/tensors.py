"""Tensors of the Open Inference Protocol as arrays, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from server.inference.grpc_service_pb2 import InferTensorContents

Array = npt.NDArray[Any]
LENGTH = 4
"""Bytes before each element of a raw tensor of BYTES that say how long it is."""


@dataclass(frozen=True, slots=True)
class Datatype:
    """A type of elements. name: the protocol's. contents: field of the typed contents. raw: NumPy's, None for BYTES."""

    name: str
    contents: str
    raw: np.dtype[Any] | None


DATATYPES = {
    "tensor(float)": Datatype("FP32", "fp32_contents", np.dtype("<f4")),
    "tensor(double)": Datatype("FP64", "fp64_contents", np.dtype("<f8")),
    "tensor(int32)": Datatype("INT32", "int_contents", np.dtype("<i4")),
    "tensor(int64)": Datatype("INT64", "int64_contents", np.dtype("<i8")),
    "tensor(bool)": Datatype("BOOL", "bool_contents", np.dtype("?")),
    "tensor(string)": Datatype("BYTES", "bytes_contents", None),
}
"""By ONNX Runtime's name of the type."""


def from_raw(content: bytes, datatype: Datatype, shape: Sequence[int]) -> Array:
    """The tensor in raw bytes, little-endian, row by row. Raises ValueError where they are not exactly that many."""
    count = int(np.prod(shape, dtype=np.int64))
    if datatype.raw is None:
        return _objects(_texts(_elements(content, count)), shape)
    if len(content) != count * datatype.raw.itemsize:
        raise ValueError(f"has {len(content)} bytes, not {count * datatype.raw.itemsize}")
    return np.frombuffer(content, datatype.raw).reshape(shape)


def from_contents(contents: InferTensorContents, datatype: Datatype, shape: Sequence[int]) -> Array:
    """The tensor in typed contents. Raises ValueError where they are not exactly that many, or of another type."""
    filled = [field.name for field, _ in contents.ListFields()]
    if others := [name for name in filled if name != datatype.contents]:
        raise ValueError(f"has {', '.join(others)}, but {datatype.name} goes into {datatype.contents}")
    values = getattr(contents, datatype.contents)
    count = int(np.prod(shape, dtype=np.int64))
    if len(values) != count:
        raise ValueError(f"has {len(values)} elements, not {count}")
    if datatype.raw is None:
        return _objects(_texts(values), shape)
    return np.array(values, datatype.raw).reshape(shape)


def to_raw(array: Array, datatype: Datatype) -> bytes:
    """The tensor as raw bytes."""
    if datatype.raw is None:
        encoded = [text.encode() for text in array.ravel().tolist()]
        return b"".join(part for text in encoded for part in (len(text).to_bytes(LENGTH, "little"), text))
    return np.ascontiguousarray(array, datatype.raw).tobytes()


def to_contents(array: Array, datatype: Datatype) -> InferTensorContents:
    """The tensor as typed contents."""
    values = array.ravel().tolist()
    return InferTensorContents(
        **{datatype.contents: [text.encode() for text in values] if datatype.raw is None else values}
    )


def _elements(content: bytes, count: int) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(content) and len(found) <= count:
        end = at + LENGTH + int.from_bytes(content[at : at + LENGTH], "little")
        if at + LENGTH > len(content) or end > len(content):
            raise ValueError(f"element {len(found)} does not end")
        found.append(content[at + LENGTH : end])
        at = end
    if len(found) != count:
        raise ValueError(
            f"has {'more than ' if len(found) > count else ''}{min(len(found), count)} elements, not {count}"
        )
    return found


def _texts(elements: Sequence[bytes]) -> list[str]:
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError as error:
        raise ValueError(f"has an element that is not UTF-8: {error.object[:40]!r}") from error


def _objects(values: list[str], shape: Sequence[int]) -> Array:
    out = np.empty(len(values), object)
    out[:] = values
    return out.reshape(shape)
