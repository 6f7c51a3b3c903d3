"""Asked for online features in any of Feast's ways, the packed store answers as Feast's own SQLite store does."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from feast import Entity, FeatureView, Field, ValueType
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value
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
    TimeUuid,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)

from feature_repo.packed import packed_store
from feature_repo.packed.layout import kind_of
from tests.packed_feast import NOW, YESTERDAY, Pair, key, read, source, user, write
from tests.packed_values import canonical, value

ALL = ["profile:clicks", "profile:spent", "profile:city", "profile:trail", "profile:joined"]
USERS = {"user_id": ["u0", "u1", "u2", "u3", "u4"]}

SCALARS = (Bytes, String, Int32, Int64, Float64, Float32, Bool, UnixTimestamp, Json, Uuid, TimeUuid, Decimal)
TYPES: dict[str, FeastType] = {
    **{f"one_{t}".lower(): t for t in (*SCALARS, PdfBytes, Map, ScalarMap, ZonedTimestamp)},
    **{f"list_{t}".lower(): Array(t) for t in (*SCALARS, Map)},
    **{f"set_{t}".lower(): Set(t) for t in SCALARS if t is not Json},
    "struct": Struct({"a": Int64}),
    "structs": Array(Struct({"a": Int64})),
    "lists": Array(Array(Int64)),
    "sets": Set(Array(Int64)),
}


def test_values_of_every_type_are_those_of_feasts_store(pair: Pair, tmp_path: Path) -> None:
    def definitions() -> list[Any]:
        person = Entity(name="person", join_keys=["user_id"], value_type=ValueType.STRING)
        fields = [Field(name="user_id", dtype=String), *(Field(name=n, dtype=t) for n, t in TYPES.items())]
        return [person, FeatureView(name="wide", entities=[person], schema=fields, source=source(tmp_path, "wide"))]

    pair.apply(definitions)
    rng, rows = random.Random(7), []
    for i in range(30):
        kinds = {name: kind_of(dtype) for name, dtype in TYPES.items()}
        values = {n: Value() if rng.random() < 0.2 else plausible(rng, kind) for n, kind in kinds.items()}
        rows.append((user(f"u{i}"), values, NOW - timedelta(seconds=rng.randrange(10**6)), None))
    for store in pair.both:
        write(store, "wide", rows)
    keys = [user(f"u{i}") for i in range(31)]
    for (time, mine), (feasts_time, feasts) in zip(*(read(s, "wide", keys) for s in pair.both), strict=True):
        assert time == feasts_time
        assert (mine is None) == (feasts is None)
        assert mine is None or {n: canonical(v) for n, v in mine.items()} == {
            n: canonical(v) for n, v in feasts.items()
        }
    for name in TYPES:
        pair.same([f"wide:{name}"], {"user_id": [f"u{i}" for i in range(31)]})
    pair.same([f"wide:{name}" for name in TYPES], {"user_id": ["u3", "u4"]}, full_feature_names=True)


def plausible(rng: random.Random, kind: str) -> Value:
    """A value of a kind that Feast can make a plain one of."""
    while True:
        one = value(rng, kind, depth=1)
        if "timestamp" in kind:
            one = Value()
            if kind == "unix_timestamp_val":
                one.unix_timestamp_val = rng.randrange(-(10**9), 4 * 10**9)
            elif kind == "zoned_timestamp_val":
                one.zoned_timestamp_val.unix_timestamp, one.zoned_timestamp_val.zone = rng.randrange(10**9), "+05:30"
            else:
                getattr(one, kind).val.extend(rng.randrange(-(10**9), 10**9) for _ in range(3))
        if kind in (
            "map_val",
            "map_list_val",
            "struct_val",
            "struct_list_val",
            "scalar_map_val",
            "list_val",
            "set_val",
        ):
            one = Value()
            getattr(one, kind).SetInParent()
            if kind in ("map_val", "struct_val"):
                getattr(one, kind).val["a"].int64_val = rng.randrange(9)
            elif kind in ("map_list_val", "struct_list_val"):
                getattr(one, kind).val.add().val["a"].string_val = "☃"
            elif kind == "scalar_map_val":
                one.scalar_map_val.val.add(value=Value(string_val="x")).key.int64_key = rng.randrange(9)
            else:
                getattr(one, kind).val.add().int64_list_val.val.extend([1, 2])
        return one


@pytest.mark.parametrize("full", [False, True])
def test_features_in_any_order_with_unknown_and_repeated_entities(filled: Pair, full: bool) -> None:
    entities = {"user_id": ["u3", "nobody", "u0", "u3", "u1", "", "u0"]}
    answer = filled.same(["profile:city", "profile:clicks", "profile:trail"], entities, full_feature_names=full)
    assert answer.to_dict()["profile__clicks" if full else "clicks"][:4] == [3 * 10**17, None, 0, 3 * 10**17]
    filled.same(ALL, USERS, full_feature_names=full)
    filled.same(ALL, [{"user_id": "u4"}, {"user_id": "u4"}], full_feature_names=full)


def test_rows_past_the_time_to_live_are_outside_max_age_with_their_values(filled: Pair) -> None:
    answer = filled.same(["profile:clicks"], {"user_id": ["u0", "u1", "nobody"]})
    vector = answer.proto.results[list(answer.proto.metadata.feature_names.val).index("clicks")]
    assert list(vector.statuses) == [FieldStatus.PRESENT, FieldStatus.OUTSIDE_MAX_AGE, FieldStatus.NOT_FOUND]
    assert vector.values[1].int64_val == 10**17


def test_event_times_are_told_to_the_microsecond_before_1970_too(filled: Pair) -> None:
    landing = datetime(1969, 7, 20, 20, 17, 40, 123_456, UTC)
    item = key(item_id=Value(int64_val=11), user_id=Value(string_val="lander"))
    write(filled.packed, "affinity", [(item, {"clicks": Value(int64_val=1)}, landing, landing)])
    assert read(filled.packed, "affinity", [item])[0][0] == landing
    entities = {"user_id": ["lander"], "item_id": [11]}
    answer = filled.packed.get_online_features(["affinity:clicks"], entities)
    assert answer.proto.results[-1].event_timestamps[0].ToDatetime(UTC) == landing
    assert read(filled.packed, "profile", [user("u0")])[0][0] == YESTERDAY


def test_several_join_keys_are_one_entity_in_whatever_order_they_come(filled: Pair) -> None:
    answer = filled.same(
        ["affinity:clicks", "affinity:score"], {"item_id": [-1, 0, 1, 9], "user_id": ["u0", "u1", "u4", "u1"]}
    )
    assert answer.to_dict()["clicks"] == [0, 0, 2, None]
    filled.same(["affinity:score"], {"user_id": ["u0", "u1"], "item_id": [1, 1]})


def test_a_view_without_entities_has_one_row_for_all(filled: Pair) -> None:
    assert filled.same(["totals:orders"], {"user_id": ["u0", "u1"]}).to_dict()["orders"] == [7, 7]
    everything = filled.same(
        ["totals:orders", "profile:city"], {"user_id": ["u0", "nobody"]}, full_feature_names=True
    ).to_dict()
    assert everything["totals__orders"] == [7, 7]


@pytest.mark.parametrize("name", ["everything", "some"])
def test_feature_services_of_several_views(filled: Pair, name: str) -> None:
    entities = {"user_id": ["u0", "u1", "nobody", "u0"], "item_id": [0, 1, 0, 0]}
    filled.same(name, entities, full_feature_names=True)
    if name == "some":
        filled.same(name, entities)


def test_features_of_two_views_by_reference(filled: Pair) -> None:
    entities = {"user_id": ["u0", "u1", "nobody"], "item_id": [0, 1, 0]}
    filled.same(["profile:clicks", "affinity:clicks", "totals:orders"], entities, full_feature_names=True)


@pytest.mark.parametrize("full", [False, True])
def test_on_demand_features_are_computed_from_what_was_read(filled: Pair, full: bool) -> None:
    answer = filled.same(["doubled:clicks_twice", "doubled:town"], {"user_id": ["u0", "u4"]}, full_feature_names=full)
    assert answer.to_dict()["doubled__town" if full else "town"] == ["Tromsø!", "漢字!"]
    filled.same(["doubled:town", "profile:city"], {"user_id": ["u0", "u2"]}, full_feature_names=full)


def test_one_view_read_for_two_roles(filled: Pair) -> None:
    entities = {"buyer_id": ["u0", "u4", "nobody"], "seller_id": ["u4", "u4", "u0"]}
    answer = filled.same("buyers_and_sellers", entities, full_feature_names=True).to_dict()
    assert answer["buyer__city"] == ["Tromsø", "漢字", None]
    assert answer["seller__city"] == ["漢字", "漢字", "Tromsø"]


def test_the_provider_reads_chosen_features(filled: Pair) -> None:
    keys = [user("u0"), user("nobody"), user("u3")]
    rows = read(filled.packed, "profile", keys, ["city", "clicks", "city"])
    names = [None if values is None else sorted(values) for _, values in rows]
    assert names == [["city", "clicks"], None, ["city", "clicks"]]
    assert rows[1] == (None, None)
    assert rows[0][1]["city"] == Value(string_val="Tromsø")
    assert rows[2][1]["city"].WhichOneof("val") is None
    assert read(filled.packed, "profile", []) == []


def test_arrays_hold_what_feast_answers(filled: Pair) -> None:
    store, ids = packed_store(filled.packed), ["u4", "nobody", "u0"]
    (rows,) = store.read(filled.packed.config, [(filled.packed.get_feature_view("profile"), ids)])
    answer = filled.packed.get_online_features(ALL, {"user_id": ids}).to_dict()
    assert rows.found.tolist() == [True, False, True]
    assert rows.matrix(["clicks"], "int64", missing=-1)[:, 0].tolist() == [
        -1 if v is None else v for v in answer["clicks"]
    ]
    assert [None if a is None else a.tolist() for a in rows.arrays("trail", "int64")] == answer["trail"]


def test_every_read_is_counted(filled: Pair) -> None:
    store = packed_store(filled.packed)
    before = store.counts.get()
    filled.packed.get_online_features(["profile:city"], {"user_id": ["u0", "nobody", "u0"]})
    after = store.counts.get()
    assert after["found"] - before["found"] == 1
    assert after["missing"] - before["missing"] == 1
