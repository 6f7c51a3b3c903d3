"""Feast's `Value` in protobuf's wire format, straight from the bytes of a record."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from feast.protos.feast.types.Value_pb2 import Value


def sized(content: bytes) -> bytes:
    """The content with its length before it, as a varint."""
    size = len(content)
    return (bytes((size,)) if size < 128 else varint(size)) + content


def varint(number: int) -> bytes:
    """The number as protobuf's variable-length integer; a negative one as its 64-bit two's complement."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_NUMBERS = {f.name: f.number for f in Value.DESCRIPTOR.fields}
_VARINT, _FIXED64, _FIXED32 = 0, 1, 5


def writer(kind: str) -> Callable[[Any], bytes]:
    """What makes a serialized `Value` with its member `kind` set to a number or truth."""
    if kind == "float_val":
        return _prefixed(_tag(kind, _FIXED32), struct.Struct("<f").pack)
    if kind == "double_val":
        return _prefixed(_tag(kind, _FIXED64), struct.Struct("<d").pack)
    return _prefixed(_tag(kind, _VARINT), varint)


def _tag(kind: str, wire_type: int) -> bytes:
    return varint(_NUMBERS[kind] << 3 | wire_type)


def _prefixed(tag: bytes, encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    return lambda content: tag + encode(content)
