"""What Feast writes online is there at the next read, here and in other processes; nothing older overwrites it."""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureService, FeatureView, Field
from feast.data_source import PushMode
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.core.PrecomputedFeatureVector_pb2 import PrecomputedFeatureVector
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float32, Int32, Int64, String

from feature_repo.packed import packed_store
from tests.integration.packed_world import process
from tests.packed_feast import (
    NOW,
    YESTERDAY,
    Pair,
    feature_store,
    key,
    packed,
    read,
    shop,
    user,
    write,
)


def pushed(clicks: int, time: datetime = NOW, name: str = "u0") -> pd.DataFrame:
    """A row of the view `profile`, as a push source takes it."""
    row = {"user_id": name, "clicks": clicks, "spent": 0.5, "city": "Oslo", "trail": [clicks], "joined": time}
    return pd.DataFrame([row | {"event_timestamp": time}])


def clicks(store: Any, name: str = "u0") -> Any:
    """The feature `profile:clicks` of a user, as online features have it."""
    return store.get_online_features(["profile:clicks"], {"user_id": [name]}).to_dict()["clicks"][0]


def one(number: int, time: datetime, created: datetime | None = None, name: str = "u0") -> Any:
    """A row of the view `profile`, as a provider takes it."""
    return user(name), {"clicks": Value(int64_val=number)}, time, created


def test_an_older_row_never_overwrites_a_newer_one(filled: Pair) -> None:
    store, tick = filled.packed, timedelta(microseconds=1)
    write(store, "profile", [one(1, NOW)])
    write(store, "profile", [one(2, NOW - tick)])
    assert clicks(store) == 1
    write(store, "profile", [one(3, NOW)])
    assert clicks(store) == 3
    write(store, "profile", [one(4, NOW + tick)])
    assert clicks(store) == 4


def test_of_one_event_time_what_was_created_last_stays(filled: Pair) -> None:
    store, tick = filled.packed, timedelta(microseconds=1)
    write(store, "profile", [one(1, NOW, NOW)])
    write(store, "profile", [one(2, NOW, NOW - tick)])
    write(store, "profile", [one(3, NOW, None)])
    assert clicks(store) == 1
    write(store, "profile", [one(4, NOW, NOW)])
    assert clicks(store) == 4
    write(store, "profile", [one(5, NOW, NOW + tick)])
    assert clicks(store) == 5


def test_within_a_batch_the_newest_row_stays_and_of_equal_ones_the_last(filled: Pair) -> None:
    times = [YESTERDAY, NOW, NOW]
    for i, order in enumerate(itertools.permutations(range(3))):
        name = f"new{i}"
        write(filled.packed, "profile", [one(n, times[n], name=name) for n in order])
        assert clicks(filled.packed, name) == [n for n in order if times[n] == NOW][-1]


def test_a_row_is_written_whole(filled: Pair) -> None:
    write(filled.packed, "profile", [one(1, NOW)])
    answer = filled.packed.get_online_features(["profile:city", "profile:clicks"], {"user_id": ["u0"]}).to_dict()
    assert (answer["city"], answer["clicks"]) == ([None], [1])


def test_a_naive_time_is_utc_and_another_zone_the_same_moment(filled: Pair) -> None:
    write(filled.packed, "profile", [one(1, NOW.replace(tzinfo=None))])
    assert read(filled.packed, "profile", [user("u0")])[0][0] == NOW
    zoned = (NOW + timedelta(seconds=1)).astimezone(datetime.fromisoformat("2024-01-01T00:00+05:30").tzinfo)
    write(filled.packed, "profile", [one(2, zoned)])
    assert read(filled.packed, "profile", [user("u0")])[0][0] == zoned


def test_writing_asynchronously_is_writing(filled: Pair) -> None:
    store = filled.packed
    provider, view = store._get_provider(), store.get_feature_view("profile")

    async def there_and_back() -> Any:
        await provider.online_write_batch_async(store.config, view, [one(9, NOW)], None)
        return await provider.online_read_async(store.config, view, [user("u0"), user("nobody")], ["clicks"])

    assert asyncio.run(there_and_back()) == [(NOW, {"clicks": Value(int64_val=9)}), (None, None)]


def test_progress_is_told_of_every_row(filled: Pair) -> None:
    store, told = filled.packed, list[int]()
    rows = [one(i, NOW, name=f"n{i}") for i in range(5)]
    store._get_provider().online_write_batch(store.config, store.get_feature_view("profile"), rows, told.append)
    assert sum(told) == 5
    write(store, "profile", [])


@pytest.mark.parametrize("later", [False, True], ids=["push", "push_async"])
def test_a_push_is_in_the_next_answer(filled: Pair, later: bool) -> None:
    for store in filled.both:
        if not later:
            store.push("profile_push", pushed(2**53 + 1), to=PushMode.ONLINE)
        elif store is filled.packed:
            asyncio.run(store.push_async("profile_push", pushed(2**53 + 1), to=PushMode.ONLINE))
        else:
            store.push("profile_push", pushed(2**53 + 1), to=PushMode.ONLINE)
    features = [f"profile:{name}" for name in ("clicks", "spent", "city", "trail", "joined")]
    answer = filled.same(features, {"user_id": ["u0", "u1"]}).to_dict()
    assert answer["clicks"] == [2**53 + 1, 10**17]
    assert answer["trail"][0] == [2**53 + 1]


def test_an_older_push_changes_nothing(filled: Pair) -> None:
    before = filled.packed.get_online_features(["profile:clicks"], {"user_id": ["u0"]}).to_dict()
    filled.packed.push("profile_push", pushed(99, YESTERDAY - timedelta(seconds=1)), to=PushMode.ONLINE)
    assert filled.packed.get_online_features(["profile:clicks"], {"user_id": ["u0"]}).to_dict() == before


def push(config: dict[str, Any], connection: Connection) -> None:
    """Push each number of clicks that comes, and say so."""
    store = feature_store(config)
    connection.send("ready")
    for number in iter(connection.recv, None):
        store.push("profile_push", pushed(number, NOW + timedelta(seconds=number)), to=PushMode.ONLINE)
        connection.send(number)


def test_a_push_in_one_process_is_in_the_next_answer_of_another(filled: Pair) -> None:
    with process(push, filled.config) as (_, other):
        assert other.recv() == "ready"
        for number in range(1, 20):
            other.send(number)
            assert other.recv() == number
            assert clicks(filled.packed) == number
        filled.packed.push("profile_push", pushed(77, NOW + timedelta(hours=1)), to=PushMode.ONLINE)
        other.send(20)
        assert other.recv() == 20
        assert clicks(filled.packed) == 77
        other.send(None)


def test_writing_the_same_view_to_the_online_store_as_a_frame(filled: Pair) -> None:
    frame = pushed(5, name="new").drop(columns="event_timestamp").assign(event_timestamp=NOW)
    for store in filled.both:
        store.write_to_online_store("profile", frame)
    filled.same(["profile:clicks", "profile:trail", "profile:joined"], {"user_id": ["new", "u1"]})


def with_stored_view(root: Path) -> list[Any]:
    """The shop, and an on-demand view whose features are computed when a row is written."""
    definitions = shop(root)
    person = next(d for d in definitions if d.name == "person")
    profile = next(d for d in definitions if d.name == "profile")

    @on_demand_feature_view(
        entities=[person],
        sources=[profile],
        schema=[Field(name="user_id", dtype=String), Field(name="greeting", dtype=String)],
        mode="pandas",
        write_to_online_store=True,
    )
    def greeted(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"greeting": "Hello from " + inputs["city"].fillna("nowhere")})

    return [*definitions, greeted]


def test_an_on_demand_view_that_is_stored_is_read_as_it_was_written(pair: Pair, tmp_path: Path) -> None:
    pair.apply(lambda: with_stored_view(tmp_path))
    pair.fill()
    greeting = {"greeting": Value(string_val="Hello from Oslo")}
    for store in pair.both:
        view = store.get_on_demand_feature_view("greeted")
        store._get_provider().online_write_batch(store.config, view, [(user("u0"), greeting, NOW, NOW)], None)
    answer = pair.same(["greeted:greeting", "profile:clicks"], {"user_id": ["u0"]})
    assert answer.to_dict()["greeting"] == ["Hello from Oslo"]
    frame = pushed(1, name="u3").assign(city="Bergen")
    for store in pair.both:
        store.write_to_online_store("greeted", frame, transform_on_write=True)
        answer = store.get_online_features(["greeted:greeting"], {"user_id": ["u3", "u0", "nobody"]})
        assert answer.to_dict()["greeting"] == ["Hello from Bergen", "Hello from Oslo", None]


def test_a_view_that_is_deleted_has_no_rows_and_the_others_keep_theirs(filled: Pair, tmp_path: Path) -> None:
    store = filled.packed
    profile, affinity = store.get_feature_view("profile"), store.get_feature_view("affinity")
    gone = [d for d in shop(tmp_path) if d.name in ("affinity", "everything", "some")]
    store.apply([], objects_to_delete=gone, partial=False)
    online = packed_store(store)
    both = key(item_id=Value(int64_val=0), user_id=Value(string_val="u0"))
    assert online.online_read(store.config, affinity, [both]) == [(None, None)]
    assert online.online_read(store.config, profile, [user("u0")])[0][0] == YESTERDAY


def test_applying_again_keeps_rows_and_planning_changes_nothing(filled: Pair, tmp_path: Path) -> None:
    store = filled.packed
    store.apply(shop(tmp_path))
    before = packed_store(store).version(store.config, store.get_feature_view("profile"))
    view = store.get_feature_view("profile")
    assert store._get_provider().online_store.plan(store.config, store.registry.proto()) == []
    assert packed_store(store).version(store.config, view) == before
    assert clicks(store, "u1") == 10**17


def test_a_feature_that_is_added_is_null_until_its_row_is_written_again(filled: Pair, tmp_path: Path) -> None:
    def wider() -> list[Any]:
        definitions = shop(tmp_path)
        profile = next(d for d in definitions if d.name == "profile")
        fields = [*profile.schema, Field(name="shoe_size", dtype=Float32)]
        person = next(d for d in definitions if d.name == "person")
        return [
            person,
            FeatureView(
                name="profile", entities=[person], ttl=profile.ttl, schema=fields, source=profile.stream_source
            ),
        ]

    store = filled.packed
    store.apply(wider())
    asked = ["profile:shoe_size", "profile:clicks"]
    assert store.get_online_features(asked, {"user_id": ["u4"]}).to_dict() == {
        "user_id": ["u4"],
        "shoe_size": [None],
        "clicks": [4 * 10**17],
    }
    store.push("profile_push", pushed(5, name="u4").assign(shoe_size=44.5), to=PushMode.ONLINE)
    assert store.get_online_features(asked, {"user_id": ["u4"]}).to_dict()["shoe_size"] == [44.5]


def test_tearing_down_removes_all_rows_and_the_store_can_be_used_again(filled: Pair, tmp_path: Path) -> None:
    filled.packed.teardown()
    filled.packed.apply(shop(tmp_path))
    assert clicks(filled.packed, "u1") is None
    filled.fill()
    assert clicks(filled.packed, "u1") == 10**17


def test_another_project_with_the_same_views_has_its_own_rows(filled: Pair, tmp_path: Path) -> None:
    config = packed(tmp_path / "packed", filled.config["online_store"], project="other")
    config["registry"] = {"path": str(tmp_path / "other.db")}
    other = feature_store(config)
    other.apply(shop(tmp_path))
    assert clicks(other, "u1") is None
    other.push("profile_push", pushed(5, name="u1"), to=PushMode.ONLINE)
    other.teardown()
    assert clicks(filled.packed, "u1") == 10**17


def test_versions_of_a_view_keep_their_own_rows(online: dict[str, Any], tmp_path: Path) -> None:
    pair = Pair.at(tmp_path, online, versions=True)
    for store in pair.both:
        store.apply(shop(tmp_path))
        write(store, "profile", [one(1, NOW)])
        changed = shop(tmp_path)
        profile = next(d for d in changed if d.name == "profile")
        person = next(d for d in changed if d.name == "person")
        fields = [f for f in profile.schema if f.name != "spent"]
        stream = profile.stream_source
        store.apply([person, FeatureView(name="profile", entities=[person], schema=fields, source=stream)])
        assert clicks(store) is None
        write(store, "profile", [one(2, NOW)])
    asked = ["profile:clicks", "profile@v0:clicks", "profile@v1:clicks"]
    for features in ([asked[0]], [asked[1]], [asked[2]]):
        pair.same(features, {"user_id": ["u0", "nobody"]})
        pair.same(features, {"user_id": ["u0"]}, full_feature_names=True, include_feature_view_version_metadata=True)
    assert pair.packed.get_online_features(asked[:1], {"user_id": ["u0"]}).to_dict()["clicks"] == [2]
    pair.close()


def test_vectors_computed_beforehand_are_served_as_feasts_store_serves_them(filled: Pair, tmp_path: Path) -> None:
    definitions = shop(tmp_path)
    profile = next(d for d in definitions if d.name == "profile")
    for store in filled.both:
        store.apply([FeatureService(name="fast", features=[profile[["clicks", "city"]]], precompute_online=True)])
        online = store._get_provider().online_store
        for i in range(3):
            vector = PrecomputedFeatureVector(feature_names=["profile__clicks", "profile__city"])
            vector.values.extend([Value(int64_val=i), Value(string_val=f"city {i}")])
            vector.precomputed_at.FromDatetime(NOW)
            if store is filled.feast:
                synthetic = FeatureView(name="__precomputed__fast", entities=[], schema=[], source=profile.batch_source)
                online.update(store.config, [], [synthetic], [], [], True)
            online.write_precomputed_vector(
                store.config, "fast", store.project, user(f"u{i}"), vector.SerializeToString()
            )
    answer = filled.same("fast", {"user_id": ["u2", "u0", "u2"]}, full_feature_names=True)
    assert answer.to_dict()["profile__city"] == ["city 2", "city 0", "city 2"]
    with pytest.raises(RuntimeError, match="pre-computed vectors could not be read"):
        filled.packed.get_online_features(
            filled.packed.get_feature_service("fast"), {"user_id": ["nobody"]}, full_feature_names=True
        )


def test_integers_of_a_narrower_kind_are_read_as_the_view_declares_after_it_grew(pair: Pair, tmp_path: Path) -> None:
    definitions = shop(tmp_path)
    person = next(d for d in definitions if d.name == "person")
    stream = next(d for d in definitions if d.name == "profile").stream_source
    for dtype, value in ((Int32, Value(int32_val=7)), (Int64, None)):
        fields = [Field(name="user_id", dtype=String), Field(name="clicks", dtype=dtype)]
        pair.packed.apply([person, FeatureView(name="profile", entities=[person], schema=fields, source=stream)])
        if value is not None:
            write(pair.packed, "profile", [(user("u0"), {"clicks": value}, NOW, None)])
    assert read(pair.packed, "profile", [user("u0")])[0][1] == {"clicks": Value(int64_val=7)}
    assert clicks(pair.packed) == 7
