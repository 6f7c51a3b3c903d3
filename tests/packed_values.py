"""Random Feast values, schemas and rows of every kind, with the awkward ones often: for tests of the packed store."""

from __future__ import annotations

import json
import math
import random
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from feast.protos.feast.types.Value_pb2 import MapKey, Value

from feature_repo.packed.layout import Column, Layout
from feature_repo.packed.record import Decoder, Row, encode

KINDS: tuple[str, ...] = tuple(f.name for f in Value.DESCRIPTOR.fields if f.name != "null_val")
"""Every member of Feast's `Value` that holds something."""

TEXT = (
    "",
    "\0",
    "a\0b",
    "naïve ☃ 漢字",
    "\U0001f469\u200d\U0001f52c\U0010ffff",
    "\u202eright to left\u202c",
    "e\u0301\u0302\ufeff",
    "{}:,\"'\\",
    "x" * 200,
)
FLOATS = (0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308)
SINGLES = (0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 1.401298464324817e-45, 3.4028234663852886e38)
LONGS = (0, 1, -1, 127, 128, -(2**63), 2**63 - 1, 2**53 + 1, 2**24 + 1)
INTS = (0, 1, -1, 127, 128, -(2**31), 2**31 - 1)


def content(rng: random.Random, scalar: str) -> Any:
    """What a scalar member of `Value`, such as `int64`, may hold."""
    edge = rng.random() < 0.4
    match scalar:
        case "bytes":
            return rng.choice([b"", b"\0", b"\xff" * 9]) if edge else rng.randbytes(rng.randrange(20))
        case "int32":
            return rng.choice(INTS) if edge else rng.randrange(-(2**31), 2**31)
        case "int64" | "unix_timestamp":
            return rng.choice(LONGS) if edge else rng.randrange(-(2**63), 2**63)
        case "double":
            return rng.choice(FLOATS) if edge else rng.gauss(0, 1e6)
        case "float":
            return rng.choice(SINGLES) if edge else rng.gauss(0, 1e6)
        case "bool":
            return rng.random() < 0.5
        case "json":
            return json.dumps(rng.choice([None, [], {"a": [1, "☃"]}, "text", 1.5]))
        case "uuid" | "time_uuid":
            return str(uuid.UUID(int=rng.getrandbits(128)))
        case "decimal":
            return str(rng.choice([Decimal("0"), Decimal("-1.10"), Decimal("1e-30"), Decimal(rng.getrandbits(90))]))
    return rng.choice(TEXT) if edge else "".join(chr(rng.randrange(0x20, 0xD7FF)) for _ in range(rng.randrange(8)))


def value(rng: random.Random, kind: str, depth: int = 2) -> Value:
    """A value of a kind, a member of `Value` such as `int64_list_val`."""
    out, name = Value(), kind.removesuffix("_val")
    member = getattr(out, kind)
    match name:
        case "map" | "struct":
            fill_map(rng, member, depth)
        case "map_list" | "struct_list":
            for _ in range(rng.randrange(3)):
                fill_map(rng, member.val.add(), depth)
        case "list" | "set":
            member.val.extend(inner(rng, depth) for _ in range(rng.randrange(3)))
        case "scalar_map":
            for _ in range(rng.randrange(3)):
                entry = member.val.add(value=inner(rng, depth))
                field = rng.choice([f.name for f in MapKey.DESCRIPTOR.fields])
                setattr(entry.key, field, content(rng, field.removesuffix("_key")))
        case "zoned_timestamp":
            member.unix_timestamp = content(rng, "unix_timestamp")
            member.zone = rng.choice(["", "Europe/Berlin", "+05:30"])
        case _ if name.endswith(("_list", "_set")):
            scalar = name.removesuffix("_list").removesuffix("_set")
            member.val.extend(content(rng, scalar) for _ in range(rng.choice([0, 1, 2, 5])))
        case _:
            setattr(out, kind, content(rng, name))
            return out
    member.SetInParent()
    return out


def inner(rng: random.Random, depth: int) -> Value:
    """A value within another: null, or of any kind; nested no deeper than asked."""
    if depth == 0:
        return rng.choice([Value(), value(rng, "int64_val"), value(rng, "string_list_val")])
    return value(rng, rng.choice(KINDS), depth - 1)


def fill_map(rng: random.Random, target: Any, depth: int) -> None:
    """Put some entries into a `Map`."""
    for _ in range(rng.randrange(3)):
        target.val[content(rng, "string")].CopyFrom(inner(rng, depth))


def layout(rng: random.Random, kinds: Sequence[str] = KINDS, most: int = 24) -> Layout:
    """A layout of up to so many columns of random kinds, with odd names among them."""
    names = {content(rng, "string") or f"feature_{i}" for i in range(rng.randrange(most + 1))}
    return Layout(tuple(Column.declared(name, rng.choice(kinds)) for name in sorted(names)))


def row(rng: random.Random, schema: Layout, nulls: float = 0.2) -> Row:
    """A row of a layout; of the given share of nulls some are absent, some empty, some said to be null."""
    values = {}
    for column in schema.columns:
        if rng.random() >= nulls:
            values[column.name] = value(rng, column.kind)
        elif rng.random() < 0.6:
            values[column.name] = rng.choice([Value(), Value(null_val=0)])  # type: ignore[arg-type]
    created = rng.choice([-(2**63), 0, rng.randrange(-(2**60), 2**60)])
    return Row(values, rng.choice([0, -1, 1_700_000_000_123_456, rng.randrange(-(2**60), 2**60)]), created)


def decoded(schema: Layout, record: bytes) -> dict[str, bytes]:
    """Every value of a record as `canonical` has it."""
    wire = Decoder(schema, [(c.name, c.kind) for c in schema.columns]).wire(record)
    return {c.name: canonical(Value.FromString(w or b"")) for c, w in zip(schema.columns, wire, strict=True)}


def written(schema: Layout, values: Mapping[str, Value]) -> dict[str, bytes]:
    """Every value of a row as `canonical` has it, null where it has none."""
    return {c.name: canonical(values.get(c.name, Value())) for c in schema.columns}


def canonical(value: Value) -> bytes:
    """Bytes that are equal for equal values, NaN among them; empty for a null, however it is said."""
    return b"" if value.HasField("null_val") else bytes(value.SerializeToString(deterministic=True))


def record(rng: random.Random, schema: Layout, nulls: float = 0.2) -> bytes:
    """A record of a random row."""
    return encode(schema, row(rng, schema, nulls))
