"""A writer that is killed leaves a store that reads, and a write that can be made again."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb

from tests.integration.packed_world import (
    Place,
    Watched,
    World,
    all_messages,
    ended,
    process,
    rows_of,
    users,
    versions_in,
    watch,
    write_version,
)

KILLS = 30
IDS = users(20_000)


def users_of(place: Place) -> list[str]:
    """Users whose rows take a while to write."""
    return IDS[:8_000] if place.online.get("backend") == "redis" else IDS


def test_readers_never_see_what_a_killed_writer_left_half_done(place: Place) -> None:
    ids = users_of(place)
    world = World.at(place)
    world.load(rows_of(1, ids))
    chance, killed, committing, version = random.Random(7), 0, 0, 3
    with process(watch, place, ids) as (_, reader):
        assert reader.recv() == "reading"
        lasting = min(seconds_of_a_write(place, version, ids) for version in (2, 3))
        while killed < KILLS:
            version += 1
            told = killed_while_writing(place, version, ids, chance.uniform(0, lasting))
            if "done" in told:
                lasting *= 0.9  # this write was faster than the first ones, and over before it was killed
            else:
                killed += 1
                committing += sum(rows for rows in told if isinstance(rows, int)) == len(ids)
            assert version < 4 * KILLS
        assert versions_in(world.read(ids)) <= set(range(3, version + 1))
        last = version + 1
        seconds_of_a_write(place, last, ids)
        time.sleep(2.0)  # on a busy machine the reader waits for its turn
        reader.send("stop")
        seen: Watched = reader.recv()
    print(f"{killed} kills, {committing} at the commit; {seen.reads} reads, {seen.mixed} of more than one version")
    assert seen.faults == []
    assert seen.reads > KILLS / 2
    assert seen.versions == sorted(seen.versions)
    assert seen.versions[-1] == last
    assert versions_in(world.read(ids)) == {last}
    assert world.read(ids).found.all()
    if place.online.get("backend") != "redis":
        assert seen.mixed == 0
    world.store.close()


def seconds_of_a_write(place: Place, version: int, ids: Sequence[str]) -> float:
    """Let a process write a version to the end; seconds from the first row to the commit."""
    with process(write_version, place, version, ids) as (writer, told):
        assert told.recv() == "start"
        begun = time.monotonic()
        assert list(all_messages(told))[-1] == "done"
        lasted = time.monotonic() - begun
        assert ended(writer)
        return lasted


def killed_while_writing(place: Place, version: int, ids: Sequence[str], seconds: float) -> list[object]:
    """Kill a process so many seconds after it began to write; what it told from then on, `done` if it had ended."""
    with process(write_version, place, version, ids) as (writer, told):
        assert told.recv() == "start"
        time.sleep(seconds)
        writer.kill()
        writer.join()
        return list(all_messages(told))


def test_a_killed_first_write_leaves_no_rows_or_whole_ones(place: Place) -> None:
    ids = users_of(place)
    for seconds in (0.0, 0.02, 0.05):
        killed_while_writing(place, 1, ids, seconds)
        rows = World.at(place).read(ids)
        assert versions_in(rows) <= {1}
        if place.online.get("backend") != "redis":
            assert int(rows.found.sum()) in (0, len(ids))
    world = World.at(place)
    world.load(rows_of(1, ids))
    assert world.read(ids).found.all()
    world.store.close()


def test_a_reader_killed_inside_a_read_does_not_keep_a_running_writer_from_using_its_room_again(tmp_path: Path) -> None:
    place = Place(tmp_path, {"map_size_gb": 0.03})
    world = World.at(place)
    world.load(rows_of(1, IDS))
    with process(hold_a_read, place, world.table) as (reader, told):
        assert told.recv() == "reading"
        world.load(rows_of(2, IDS))
        reader.kill()
        reader.join()
    for version in range(3, 13):
        world.load(rows_of(version, IDS))
    assert versions_in(world.read(IDS)) == {12}
    world.store.close()


def hold_a_read(place: Place, table: str, connection: Connection) -> None:
    """Begin a read and never end it."""
    with lmdb.open(str(place.root / "online" / table), readonly=True) as env, env.begin() as txn:
        assert txn.stat()["entries"]
        connection.send("reading")
        connection.poll(60)
