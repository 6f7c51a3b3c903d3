"""Materialized by its own engine, the packed store holds what Feast's local engine puts into Feast's own store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import BatchFeatureView, Entity, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_source import PushMode
from feast.types import Array, Bool, Bytes, FeastType, Float32, Float64, Int32, Int64, Json, String, UnixTimestamp
from feast.types import Decimal as DecimalType

from feature_repo.packed import packed_store
from shoprank.errors import UserError
from tests.packed_feast import NOW, YESTERDAY, Online, Pair

START = NOW - timedelta(days=30)

COLUMNS: dict[str, tuple[FeastType, pa.Array]] = {
    "int64": (Int64, pa.array([1, -(2**63), 2**63 - 1, 0])),
    "int32": (Int32, pa.array([1, None, 2**31 - 1, 0], pa.int32())),
    "float64": (Float64, pa.array([0.1, None, 1e300, float("nan")])),
    "float32": (Float32, pa.array([0.1, None, float("inf"), float("nan")], pa.float32())),
    "bool": (Bool, pa.array([True, None, False, True])),
    "string": (String, pa.array(["a", None, "", "☃\0"])),
    "bytes": (Bytes, pa.array([b"\xff", None, b"", b"\0"])),
    "instant": (UnixTimestamp, pa.array([NOW, YESTERDAY, START, NOW], pa.timestamp("us", "UTC"))),
    "json": (Json, pa.array(['{"a": 1}', None, "[]", "null"])),
    "decimal": (DecimalType, pa.array([Decimal("1.10"), None, Decimal("-2"), Decimal("0")], pa.decimal128(9, 2))),
    "int64s": (Array(Int64), pa.array([[1, 2**60], None, [], [3]])),
    "float32s": (Array(Float32), pa.array([[0.5], None, [], [3.0, -1.0]], pa.list_(pa.float32()))),
    "float64s": (Array(Float64), pa.array([[0.1], None, [], [3.0]])),
    "bools": (Array(Bool), pa.array([[True], None, [], [False, True]])),
    "strings": (Array(String), pa.array([["a", "☃"], None, [], [""]])),
    "instants": (Array(UnixTimestamp), pa.array([[NOW], None, [], [START, NOW]], pa.list_(pa.timestamp("us")))),
}


CLICKS = [Field(name="user_id", dtype=String), Field(name="clicks", dtype=Int64)]


def entity() -> Entity:
    """The users."""
    return Entity(name="person", join_keys=["user_id"], value_type=ValueType.STRING)


def table(path: Path, ids: list[str], times: list[datetime], **columns: Any) -> str:
    """Write a source, and say where."""
    moments = pa.array(times, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"user_id": ids, "event_timestamp": moments} | columns), path)
    return str(path)


def features(*names: tuple[str, FeastType]) -> list[Field]:
    """The schema of a view of users."""
    return [Field(name="user_id", dtype=String), *(Field(name=name, dtype=dtype) for name, dtype in names)]


@pytest.fixture
def dask(online: Online, tmp_path: Path) -> Iterator[Pair]:
    """Two empty stores above Feast's default offline store, for what Feast's DuckDB store cannot do itself."""
    pair = Pair.at(tmp_path, online)
    yield pair
    pair.close()


@pytest.fixture(params=["duckdb", "dask"])
def warehouse(request: pytest.FixtureRequest, online: Online, tmp_path: Path) -> Iterator[Pair]:
    """Two empty stores above each offline store for files."""
    pair = Pair.at(tmp_path, online, offline_store={"type": request.param})
    yield pair
    pair.close()


def test_columns_of_every_type_are_materialized_as_feasts_engine_does(warehouse: Pair, tmp_path: Path) -> None:
    ids = ["u0", "u1", "u2", "u3"]
    columns = {name: column for name, (_, column) in COLUMNS.items()}
    source = table(tmp_path / "wide.parquet", ids, [NOW - timedelta(hours=i) for i in range(4)], **columns)

    def definitions() -> list[Any]:
        file = FileSource(name="wide", path=source, timestamp_field="event_timestamp")
        schema = features(*((name, dtype) for name, (dtype, _) in COLUMNS.items()))
        return [entity(), FeatureView(name="wide", entities=[entity()], schema=schema, source=file)]

    warehouse.apply(definitions)
    for store in warehouse.both:
        store.materialize(START, NOW + timedelta(minutes=1))
    asked = {"user_id": [*ids, "nobody"]}
    mine, feasts = (s.get_online_features([f"wide:{n}" for n in COLUMNS], asked).to_dict() for s in warehouse.both)
    for name in COLUMNS:
        # Feast's own engine keeps a NaN that the offline store hands on as one; here it is a null.
        assert [None if v != v else v for v in feasts[name]] == mine[name], name


def test_of_many_rows_the_latest_of_the_interval_is_kept(warehouse: Pair, tmp_path: Path) -> None:
    days = [NOW - timedelta(days=n) for n in (9, 3, 1, 6, 2)]
    source = table(tmp_path / "clicks.parquet", ["u0", "u0", "u0", "u1", "u2"], days, clicks=[9, 3, 1, 6, 2])

    def definitions() -> list[Any]:
        file = FileSource(name="clicks", path=source, timestamp_field="event_timestamp")
        view = FeatureView(name="clicks", entities=[entity()], ttl=timedelta(days=60), schema=CLICKS, source=file)
        return [entity(), view]

    warehouse.apply(definitions)
    asked = {"user_id": ["u0", "u1", "u2", "u3"]}
    for store in warehouse.both:
        store.materialize(NOW - timedelta(days=10), NOW - timedelta(days=5))
    assert warehouse.same(["clicks:clicks"], asked).to_dict()["clicks"] == [9, 6, None, None]
    for store in warehouse.both:
        store.materialize_incremental(NOW - timedelta(days=2, hours=1))
    assert warehouse.same(["clicks:clicks"], asked).to_dict()["clicks"] == [3, 6, None, None]
    for store in warehouse.both:
        store.materialize_incremental(NOW)
    assert warehouse.same(["clicks:clicks"], asked).to_dict()["clicks"] == [1, 6, 2, None]
    # Going back does not put older rows in place of newer ones, as it does in Feast's own store.
    warehouse.packed.materialize(NOW - timedelta(days=10), NOW - timedelta(days=5))
    assert warehouse.packed.get_online_features(["clicks:clicks"], asked).to_dict()["clicks"] == [1, 6, 2, None]


def test_mapped_columns_and_created_times_decide_as_in_feasts_engine(warehouse: Pair, tmp_path: Path) -> None:
    made = pa.array([NOW, NOW - timedelta(hours=1), NOW], pa.timestamp("us", "UTC"))
    ids, times = ["u0", "u0", "u1"], [YESTERDAY] * 3
    source = table(tmp_path / "mapped.parquet", ids, times, clicks_raw=[1, 2, 3], made=made)

    def definitions() -> list[Any]:
        file = FileSource(
            name="mapped",
            path=source,
            timestamp_field="event_timestamp",
            created_timestamp_column="made",
            field_mapping={"clicks_raw": "clicks"},
        )
        view = FeatureView(name="mapped", entities=[entity()], schema=CLICKS, source=file)
        return [entity(), view]

    warehouse.apply(definitions)
    for store in warehouse.both:
        store.materialize(START, NOW)
    assert warehouse.same(["mapped:clicks"], {"user_id": ["u0", "u1"]}).to_dict()["clicks"] == [1, 3]


def test_several_entities_and_views_of_none_are_materialized(dask: Pair, tmp_path: Path) -> None:
    pairs = table(tmp_path / "pairs.parquet", ["u0", "u0", ""], [NOW] * 3, item_id=[1, -1, 5], score=[0.5, 1.5, 2.5])
    total = table(tmp_path / "total.parquet", ["", ""], [YESTERDAY, NOW], orders=[1, 2])

    def definitions() -> list[Any]:
        item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
        files = [FileSource(name=p, path=p, timestamp_field="event_timestamp") for p in (pairs, total)]
        schema = [Field(name="item_id", dtype=Int64), *features(("score", Float64))]
        affinity = FeatureView(name="affinity", entities=[item, entity()], schema=schema, source=files[0])
        whole = FeatureView(name="total", entities=[], schema=[Field(name="orders", dtype=Int64)], source=files[1])
        return [item, entity(), affinity, whole]

    dask.apply(definitions)
    for store in dask.both:
        store.materialize(START, NOW + timedelta(minutes=1))
    asked = {"user_id": ["u0", "u0", "", "u1"], "item_id": [1, -1, 5, 1]}
    answer = dask.same(["affinity:score", "total:orders"], asked).to_dict()
    assert answer["score"] == [0.5, 1.5, 2.5, None]
    assert answer["orders"] == [2, 2, 2, 2]


def test_a_view_of_no_entity_is_materialized_above_either_offline_store(warehouse: Pair, tmp_path: Path) -> None:
    source = table(tmp_path / "total.parquet", ["", ""], [YESTERDAY, NOW - timedelta(hours=1)], orders=[1, 2])
    file = FileSource(name="total", path=source, timestamp_field="event_timestamp")
    store = warehouse.packed  # Feast's own engine misses its made-up entity above DuckDB
    store.apply([FeatureView(name="total", entities=[], schema=[Field(name="orders", dtype=Int64)], source=file)])
    store.materialize(START, NOW)
    assert store.get_online_features(["total:orders"], {"user_id": ["u0"]}).to_dict()["orders"] == [2]


def test_a_view_that_transforms_is_materialized_by_feasts_plan(dask: Pair, tmp_path: Path) -> None:
    source = table(tmp_path / "raw.parquet", ["u0", "u1"], [YESTERDAY] * 2, clicks=[1, 2])

    def definitions() -> list[Any]:
        view = BatchFeatureView(
            name="computed",
            mode="python",
            entities=[entity()],
            schema=CLICKS,
            source=FileSource(name="raw", path=source, timestamp_field="event_timestamp"),
            online=True,
            udf=lambda frame: frame.assign(clicks=10 * frame["clicks"]),
            udf_string="lambda frame: frame.assign(clicks=10 * frame['clicks'])",
        )
        return [entity(), view]

    dask.apply(definitions)
    for store in dask.both:
        store.materialize(START, NOW)
    assert dask.same(["computed:clicks"], {"user_id": ["u0", "u1"]}).to_dict()["clicks"] == [10, 20]


def test_pushed_rows_go_online_and_offline_and_are_materialized_from_there(warehouse: Pair, tmp_path: Path) -> None:
    for store, name in zip(warehouse.both, ("packed", "feast"), strict=True):
        file = table(tmp_path / f"{name}.parquet", ["u0"], [YESTERDAY], clicks=[1])
        push = PushSource(
            name="push", batch_source=FileSource(name="clicks", path=file, timestamp_field="event_timestamp")
        )
        store.apply([entity(), FeatureView(name="clicks", entities=[entity()], schema=CLICKS, source=push)])
        rows = pa.table({"user_id": ["u1"], "event_timestamp": [NOW - timedelta(minutes=1)], "clicks": [5]}).to_pandas()
        store.push("push", rows, to=PushMode.ONLINE_AND_OFFLINE)
    assert warehouse.same(["clicks:clicks"], {"user_id": ["u0", "u1"]}).to_dict()["clicks"] == [None, 5]
    packed_store(warehouse.packed).clear(warehouse.packed.config, warehouse.packed.get_feature_view("clicks"))
    for store in warehouse.both:
        store.materialize(START, NOW)
    assert warehouse.same(["clicks:clicks"], {"user_id": ["u0", "u1"]}).to_dict()["clicks"] == [1, 5]


def test_a_view_that_is_kept_offline_too_is_online_even_where_feast_cannot_append_it(
    dask: Pair, tmp_path: Path
) -> None:
    source = table(tmp_path / "clicks.parquet", ["u0"], [YESTERDAY], clicks=[1])
    for store in dask.both:
        file = FileSource(name="clicks", path=source, timestamp_field="event_timestamp")
        view = FeatureView(name="clicks", entities=[entity()], schema=CLICKS, source=file, offline=True)
        store.apply([entity(), view])
        with suppress(ValueError):  # Feast's file store takes columns in one order; its job gives them in a random one
            store.materialize(START, NOW)
    assert dask.same(["clicks:clicks"], {"user_id": ["u0"]}).to_dict()["clicks"] == [1]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pa.array(["many", "few"]), "clicks"),
        (pa.array([1.5, 2.0]), "clicks"),
        (pa.array([2**63, 1], pa.uint64()), "clicks"),
    ],
    ids=["text", "a fraction", "too large"],
)
def test_bad_values_leave_what_was_there_and_good_ones_take_its_place(
    warehouse: Pair, tmp_path: Path, column: pa.Array, problem: str
) -> None:
    source = table(tmp_path / "clicks.parquet", ["u0", "u1"], [YESTERDAY] * 2, clicks=[1, 2])
    file = FileSource(name="clicks", path=source, timestamp_field="event_timestamp")
    view = FeatureView(name="visits", entities=[entity()], schema=CLICKS, source=file)
    store = warehouse.packed
    store.apply([entity(), view])
    store.materialize(START, NOW)
    table(tmp_path / "clicks.parquet", ["u0", "u1"], [NOW - timedelta(hours=1)] * 2, clicks=column)
    with pytest.raises(UserError, match=rf"visits.*{problem}") as failed:
        store.materialize(START, NOW)
    assert store.get_online_features(["visits:clicks"], {"user_id": ["u0", "u1"]}).to_dict()["clicks"] == [1, 2]
    table(tmp_path / "clicks.parquet", ["u0", "u1"], [NOW - timedelta(hours=1)] * 2, clicks=[3, 4])
    store.materialize(START, NOW)
    assert store.get_online_features(["visits:clicks"], {"user_id": ["u0", "u1"]}).to_dict()["clicks"] == [3, 4]
    assert failed.value
