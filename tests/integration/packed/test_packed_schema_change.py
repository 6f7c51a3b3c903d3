"""Rows of one schema read by another: what both mean alike is served, all else is missing and says so."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Int64List, Value
from feast.types import Array, Bool, FeastType, Float32, Float64, Int32, Int64, String

from feature_repo.packed import packed_store
from tests.integration.packed_world import Place, World, applied, ended, process, users

IDS = users(500)
OLD: Mapping[str, FeastType] = {
    "kept": Float32,
    "removed": Int64,
    "widened": Int32,
    "narrowed": Int64,
    "to_text": Float32,
    "from_text": String,
    "trail": Array(Int64),
    "to_list": Int64,
}
NEW: Mapping[str, FeastType] = {
    "added": Float32,
    "to_list": Array(Int64),
    "from_text": Float64,
    "to_text": String,
    "trail": Array(Int64),
    "narrowed": Int32,
    "widened": Int64,
    "kept": Float32,
    "flag": Bool,
}
OLD_ROW: Mapping[str, Value] = {
    "kept": Value(float_val=1.5),
    "removed": Value(int64_val=11),
    "widened": Value(int32_val=12),
    "narrowed": Value(int64_val=13),
    "to_text": Value(float_val=14.5),
    "from_text": Value(string_val="15"),
    "trail": Value(int64_list_val=Int64List(val=[1, 6])),
    "to_list": Value(int64_val=17),
}
NEW_ROW: Mapping[str, Value] = {
    "added": Value(float_val=20.5),
    "to_list": Value(int64_list_val=Int64List(val=[2, 7])),
    "from_text": Value(double_val=25.5),
    "to_text": Value(string_val="24"),
    "trail": Value(int64_list_val=Int64List(val=[2, 6])),
    "narrowed": Value(int32_val=23),
    "widened": Value(int64_val=22),
    "kept": Value(float_val=2.5),
    "flag": Value(bool_val=True),
}
OLD_BY_NEW: Mapping[str, Any] = {"kept": 1.5, "widened": 12, "trail": [1, 6]}
"""What a reader of the new schema may say of an old row."""
NEW_BY_OLD: Mapping[str, Any] = {"kept": 2.5, "narrowed": 23, "trail": [2, 6]}
"""What a reader of the old schema may say of a new row: `narrowed` is an int32 now, which an int64 holds."""
NEW_BY_NEW: Mapping[str, Any] = {
    "added": 20.5,
    "to_list": [2, 7],
    "from_text": 25.5,
    "to_text": "24",
    "trail": [2, 6],
    "narrowed": 23,
    "widened": 22,
    "kept": 2.5,
    "flag": True,
}
OLD_BY_OLD: Mapping[str, Any] = {
    "kept": 1.5,
    "removed": 11,
    "widened": 12,
    "narrowed": 13,
    "to_text": 14.5,
    "from_text": "15",
    "trail": [1, 6],
    "to_list": 17,
}


def write(world: World, ids: Sequence[str], values: Mapping[str, Value], at: int) -> None:
    """Write one row of values for each user, through Feast's contract."""
    moment = datetime.fromtimestamp(1_700_000_000 + at, UTC)
    keys = [EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)]) for user in ids]
    world.store.online_write_batch(
        world.config, world.view, [(key, dict(values), moment, None) for key in keys], lambda _: None
    )


def answers(store: FeatureStore, schema: Mapping[str, FeastType], ids: Sequence[str]) -> list[dict[str, Any]]:
    """Feast's answer for each user: the features that are PRESENT; every other one is NOT_FOUND and None."""
    response = store.get_online_features([f"users:{name}" for name in schema], [{"user_id": user} for user in ids])
    names, values = list(response.proto.metadata.feature_names.val), response.to_dict()
    rows: list[dict[str, Any]] = [{} for _ in ids]
    for name, column in zip(names, response.proto.results, strict=True):
        for row, status in enumerate(column.statuses):
            if name == "user_id":
                continue
            if status == FieldStatus.PRESENT:
                rows[row][name] = values[name][row]
            else:
                assert status == FieldStatus.NOT_FOUND
                assert values[name][row] is None
    return rows


def read(world: World, schema: Mapping[str, FeastType], ids: Sequence[str]) -> list[dict[str, Any]]:
    """The same by `online_read`."""
    keys = [EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)]) for user in ids]
    rows = []
    for _, values in world.store.online_read(world.config, world.view, keys, list(schema)):
        assert values is not None
        kinds = {name: value.WhichOneof("val") for name, value in values.items()}
        rows.append({n: plain(getattr(values[n], kind)) for n, kind in kinds.items() if kind is not None})
    return rows


def plain(content: Any) -> Any:
    """A value without protobuf around it."""
    return list(content.val) if hasattr(content, "val") else content


@pytest.fixture
def changed(place: Place) -> FeatureStore:
    """Feast's store whose view was applied anew with the new schema, over rows of the old one."""
    store = applied(place, place.view(OLD))
    write(World(store.config, packed_store(store), store.get_feature_view("users")), IDS, OLD_ROW, 0)
    assert answers(store, OLD, IDS[:1]) == [OLD_BY_OLD]
    store.apply([place.view(NEW)])
    return store


def test_old_rows_read_by_the_new_view_have_what_both_mean_alike_and_nothing_else(changed: FeatureStore) -> None:
    world = World(changed.config, packed_store(changed), changed.get_feature_view("users"))
    assert answers(changed, NEW, IDS[:2]) == [OLD_BY_NEW] * 2
    assert read(world, NEW, IDS[:2]) == [OLD_BY_NEW] * 2
    rows = world.read(IDS[:2])
    names = ["kept", "added", "flag", "removed"]
    assert rows.present(names).tolist() == [[True, False, False, True]] * 2
    np.testing.assert_array_equal(rows.matrix(names)[0], np.array([1.5, np.nan, np.nan, 11], np.float32))
    assert rows.matrix(["kept", "added"], missing=-1.0)[0].tolist() == [1.5, -1.0]
    assert rows.present(["kept", "from_text", "widened", "narrowed"], np.int32)[0].tolist() == [
        False,
        False,
        True,
        False,
    ]
    assert rows.matrix(["kept", "from_text", "widened", "narrowed"], np.int32)[0].tolist() == [0, 0, 12, 0]
    assert rows.arrays("to_list", np.int64) == [None, None]
    assert rows.written_with(["kept"]).all()
    assert not rows.written_with(["kept", "added"]).any()
    world.store.close()


def test_a_reader_of_the_new_view_sees_old_or_new_rows_while_a_writer_writes_them_anew(changed: FeatureStore) -> None:
    view = changed.get_feature_view("users")
    world = World(changed.config, packed_store(changed), view)
    writer = threading.Thread(target=write_in_parts, args=(world,))
    writer.start()
    seen = set()
    while True:
        last = not writer.is_alive()
        for row in answers(changed, NEW, IDS[::25]):
            assert row in (OLD_BY_NEW, NEW_BY_NEW)
            seen.add(len(row))
        rows = world.read(IDS)
        kept, present = rows.matrix(["kept", "added"]), rows.present(["added"])[:, 0]
        assert (kept[:, 0] == np.where(present, 2.5, 1.5)).all()
        assert (kept[present, 1] == 20.5).all()
        assert np.isnan(kept[~present, 1]).all()
        if last:
            break
    writer.join()
    assert seen >= {len(NEW_BY_NEW)}
    assert answers(changed, NEW, IDS) == [NEW_BY_NEW] * len(IDS)
    world.store.close()


def write_in_parts(world: World) -> None:
    """Write new rows, some users at a time."""
    for start in range(0, len(IDS), 20):
        write(world, IDS[start : start + 20], NEW_ROW, 1)


def test_a_process_with_the_old_view_reads_new_rows_without_a_wrong_number(place: Place) -> None:
    store = applied(place, place.view(OLD))
    world = World(store.config, packed_store(store), store.get_feature_view("users"))
    write(world, IDS, OLD_ROW, 0)
    with process(read_by_the_old_view, place) as (reader, told):
        assert told.recv() == ([OLD_BY_OLD] * 3, [[1.5, 14.5, 13.0]] * 3)
        store.apply([place.view(NEW)])
        renewed = World(store.config, packed_store(store), store.get_feature_view("users"))
        write(renewed, IDS[:2], NEW_ROW, 1)
        told.send("again")
        answered, numbers = told.recv()
        assert answered == [NEW_BY_OLD, NEW_BY_OLD, OLD_BY_OLD]
        assert numbers == [[2.5, -1.0, 23.0]] * 2 + [[1.5, 14.5, 13.0]]
        assert ended(reader)
    world.store.close()


def read_by_the_old_view(place: Place, connection: Connection) -> None:
    """Tell, before and after a message, what a process that knows the old view alone reads."""
    world = World.at(place, place.view(OLD))
    for again in (False, True):
        if again:
            connection.recv()
        numbers = world.read(IDS[:3]).matrix(["kept", "to_text", "narrowed"], np.float64, missing=-1.0)
        connection.send((read(world, OLD, IDS[:3]), numbers.tolist()))


def test_a_view_applied_as_it_was_serves_what_it_did(place: Place) -> None:
    store = applied(place, place.view(OLD))
    world = World(store.config, packed_store(store), store.get_feature_view("users"))
    write(world, IDS[:1], OLD_ROW, 0)
    store.apply([place.view(NEW)])
    store.apply([place.view(OLD)])
    assert answers(store, OLD, IDS[:1]) == [OLD_BY_OLD]
    world.store.close()
