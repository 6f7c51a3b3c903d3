"""A record that is harmed, foreign or of an unknown layout is not served, costs no other row, and is written over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import lmdb
import pytest
import redis
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from feature_repo.packed import Status, packed_store
from feature_repo.packed.record import sealed
from tests.integration.packed_world import NUMBERS, Place, World, applied, rows_of, users
from tests.redis_server import RedisServer

IDS = users(40)
HARMED, SOUND = IDS[3], [user for user in IDS if user != IDS[3]]


class Behind:
    """What lies in a store, seen and changed behind its back: in the LMDB file, or by a client of Redis."""

    def __init__(self, place: Place, world: World) -> None:
        self._world = world
        self._folder = place.root / "online" / world.table
        url = place.online.get("connection_string")
        self._redis: redis.Redis | None = None if url is None else redis.Redis.from_url(str(url))

    def change(self, part: bytes, change: Callable[[bytes], bytes]) -> None:
        """Change the values whose keys hold `part`."""
        if self._redis is not None:
            for key in self._redis.keys(b"*" + part + b"*"):
                self._redis.set(key, change(self._redis.get(key)))
            return
        self._world.store.close()
        with lmdb.open(str(self._folder), map_size=1 << 30) as env, env.begin(write=True) as txn:
            for key, value in [(k, v) for k, v in txn.cursor() if part in k]:
                txn.put(key, change(value))


@pytest.fixture
def feast(place: Place) -> FeatureStore:
    """Feast's store of the place with version 1 of all rows, at version 1."""
    store = applied(place)
    world_of(store).load(rows_of(1, IDS))
    return store


@pytest.fixture
def world(feast: FeatureStore) -> Iterator[World]:
    """The world of that store."""
    world = world_of(feast)
    yield world
    world.store.close()


def world_of(store: FeatureStore) -> World:
    """The world in which Feast's store reads and writes."""
    return World(store.config, packed_store(store), store.get_feature_view("users"))


def online(store: FeatureStore, ids: list[str]) -> tuple[list[str], list[tuple[object, ...]]]:
    """What Feast answers for a few features: one status and the values of each user."""
    features = ["users:f0", "users:note", "users:trail"]
    response = store.get_online_features(features, [{"user_id": user} for user in ids])
    statuses = response.proto.results[1:]
    codes = [{column.statuses[row] for column in statuses} for row in range(len(ids))]
    assert all(len(code) == 1 for code in codes)
    status_of = {number: name for name, number in FieldStatus.items()}
    answer = response.to_dict()
    values: list[tuple[object, ...]] = list(zip(answer["f0"], answer["note"], answer["trail"], strict=True))
    return [status_of[code.pop()] for code in codes], values


def flipped(at: int) -> Callable[[bytes], bytes]:
    """A record with the lowest bit of one byte turned."""

    def flip(record: bytes) -> bytes:
        place = at % len(record)
        return record[:place] + bytes([record[place] ^ 1]) + record[place + 1 :]

    return flip


@pytest.mark.parametrize(
    "at",
    [0, 2, 3, 4, 8, 16, 24, 40, -40, -4],
    ids=["magic", "version", "zero", "layout", "event time", "created", "nulls", "number", "list", "checksum"],
)
def test_a_flipped_bit_makes_its_row_corrupt_and_no_other(
    place: Place, feast: FeatureStore, world: World, at: int
) -> None:
    Behind(place, world).change(HARMED.encode(), flipped(at))
    before = world.store.counts.get()
    rows = world.read(IDS)
    assert rows.status.tolist() == [Status.CORRUPT if user == HARMED else Status.FOUND for user in IDS]
    assert not rows.present(NUMBERS)[3].any()
    assert rows.arrays("trail", "i8")[3] is None
    statuses, values = online(feast, IDS)
    assert statuses == ["NOT_FOUND" if user == HARMED else "PRESENT" for user in IDS]
    assert values[3] == (None, None, None)
    assert values[4] == (1.0, "1", [1, 1, 1])
    after = world.store.counts.get()
    assert after["corrupt"] - before["corrupt"] == 2
    assert after["found"] - before["found"] == 2 * len(SOUND)
    world.load(rows_of(1, IDS))
    assert world.version_of(IDS) == [1] * len(IDS)


@pytest.mark.parametrize(
    "harm",
    [lambda record: b"", lambda record: record[:10], lambda record: b"not ours", lambda record: record + b"\0"],
    ids=["empty", "cut", "foreign", "longer"],
)
def test_bytes_that_are_no_record_are_corrupt(
    place: Place, feast: FeatureStore, world: World, harm: Callable[[bytes], bytes]
) -> None:
    Behind(place, world).change(HARMED.encode(), harm)
    assert world.read(IDS).status.tolist() == [Status.CORRUPT if user == HARMED else Status.FOUND for user in IDS]
    assert online(feast, [HARMED, *SOUND[:2]])[0] == ["NOT_FOUND", "PRESENT", "PRESENT"]
    world.load(rows_of(1, IDS))
    assert world.version_of(IDS) == [1] * len(IDS)


def test_a_harmed_event_time_in_the_far_future_does_not_keep_a_good_row_out(place: Place, world: World) -> None:
    def far(record: bytes) -> bytes:
        return record[:8] + (2**62).to_bytes(8, "little") + record[16:]

    behind = Behind(place, world)
    behind.change(HARMED.encode(), far)
    assert world.version_of([HARMED]) == [None]
    world.put(rows_of(1, [HARMED]))
    assert world.version_of([HARMED]) == [1]
    behind.change(HARMED.encode(), far)
    world.load(rows_of(2, IDS))
    assert world.version_of(IDS) == [2] * len(IDS)


def test_a_record_of_an_unknown_layout_is_unreadable_until_it_is_written_again(
    place: Place, feast: FeatureStore, world: World
) -> None:
    def of_another(record: bytes) -> bytes:
        return sealed(record[:4] + b"\xde\xad\xbe\xef" + record[8:-4])

    Behind(place, world).change(HARMED.encode(), of_another)
    before = world.store.counts.get()["unreadable"]
    assert world.read(IDS).status.tolist() == [Status.UNREADABLE if user == HARMED else Status.FOUND for user in IDS]
    assert online(feast, [HARMED, SOUND[0]])[0] == ["NOT_FOUND", "PRESENT"]
    assert world.store.counts.get()["unreadable"] - before == 2
    world.load(rows_of(2, IDS))
    assert world.version_of(IDS) == [2] * len(IDS)


@pytest.mark.parametrize(
    "harm",
    [lambda text: b"\xff not JSON", lambda text: text.replace(b"f0", b"f9"), lambda text: b"[]", lambda text: b"7"],
    ids=["not JSON", "another layout", "no columns", "a number"],
)
def test_a_harmed_layout_makes_its_rows_unreadable_until_a_write_repairs_it(
    place: Place, world: World, harm: Callable[[bytes], bytes]
) -> None:
    Behind(place, world).change(b"layout", harm)
    fresh = World(world.config, type(world.store)(), world.view)
    assert set(fresh.read(IDS).status.tolist()) == {Status.UNREADABLE}
    fresh.load(rows_of(1, IDS))
    assert fresh.version_of(IDS) == [1] * len(IDS)
    fresh.store.close()


def test_foreign_bytes_and_keys_of_other_types_are_not_served_and_are_written_over(
    redis_place: Place, redis_server: RedisServer
) -> None:
    store = applied(redis_place)
    world, client = world_of(store), redis_server.client()
    world.load(rows_of(1, IDS))
    foreign: list[Callable[[bytes], object]] = [
        lambda key: client.set(key, b"hello"),
        lambda key: client.rpush(key, b"a", b"b"),
        lambda key: client.hset(key, "a", "b"),
        lambda key: client.sadd(key, "a"),
    ]
    for user, put in zip(IDS, foreign, strict=False):
        (key,) = client.keys(f"*{user}*")
        client.delete(key)
        put(key)
    assert world.version_of(IDS) == [None] * len(foreign) + [1] * (len(IDS) - len(foreign))
    assert online(store, IDS[:5])[0] == ["NOT_FOUND"] * 4 + ["PRESENT"]
    world.load(rows_of(1, IDS))
    assert world.version_of(IDS) == [1] * len(IDS)
    world.store.close()


def test_foreign_types_under_a_layouts_key_make_rows_unreadable_until_a_write_repairs_it(
    redis_place: Place, redis_server: RedisServer
) -> None:
    world, client = World.at(redis_place), redis_server.client()
    world.load(rows_of(1, IDS))
    (key,) = client.keys("*layout*")
    client.delete(key)
    client.rpush(key, b"a")
    fresh = World.at(redis_place)
    assert set(fresh.read(IDS).status.tolist()) == {Status.UNREADABLE}
    fresh.load(rows_of(2, IDS))
    assert fresh.version_of(IDS) == [2] * len(IDS)
    fresh.store.close()
