"""Several writers, threads and forks at one store: the newest row wins, and everybody reads whole rows."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt
import pytest

from feature_repo.packed.engine import table_of_view
from tests.integration.packed_world import Place, World, ended, process, rows_of, users, versions_in
from tests.redis_server import RedisServer

IDS = users(2_000)
ROUNDS = 12


def versions_of(writer: int, turn: int) -> npt.NDArray[np.int64]:
    """A random version for each user, which no other writer has."""
    return np.random.default_rng([writer, turn]).integers(1, 500_000, len(IDS)) * 2 + writer


def write_interleaved(place: Place, writer: int, connection: Connection | None = None) -> None:
    """Write all rows several times, the users in another order and as of other times each time."""
    world, order = World.at(place), list(range(len(IDS)))
    if connection is not None:
        connection.send("ready")
        connection.recv()
    for turn in range(ROUNDS):
        random.Random(turn).shuffle(order)
        world.put(rows_of(versions_of(writer, turn)[order], [IDS[i] for i in order]))


def newest() -> list[int]:
    """The latest version of each user among all that both writers write."""
    written = [versions_of(writer, turn) for writer in (0, 1) for turn in range(ROUNDS)]
    return [int(version) for version in np.max(written, axis=0)]


def test_of_two_processes_that_write_at_once_the_later_event_time_wins_for_every_row(place: Place) -> None:
    with process(write_interleaved, place, 0) as (one, told), process(write_interleaved, place, 1) as (other, told_too):
        for connection in (told, told_too):
            assert connection.recv() == "ready"
        for connection in (told, told_too):
            connection.send("go")
        assert ended(one)
        assert ended(other)
    world = World.at(place)
    assert world.version_of(IDS) == newest()
    versions_in(world.read(IDS))
    world.store.close()


def test_of_two_threads_that_write_at_once_the_later_event_time_wins_for_every_row(place: Place) -> None:
    threads = [threading.Thread(target=write_interleaved, args=(place, writer)) for writer in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world = World.at(place)
    assert world.version_of(IDS) == newest()
    versions_in(world.read(IDS))
    world.store.close()


@pytest.mark.parametrize("first", [1, 2])
def test_of_two_writers_one_after_the_other_the_later_event_time_wins(place: Place, first: int) -> None:
    world = World.at(place)
    written = [world.put(rows_of(version, IDS)) for version in (first, 3 - first)]
    assert world.version_of(IDS) == [2] * len(IDS)
    assert [w.older for w in written] == ([0, 0] if first == 1 else [0, len(IDS)])
    world.store.close()


def test_threads_that_read_while_one_writes_see_whole_rows(place: Place) -> None:
    world = World.at(place)
    world.put(rows_of(1, IDS))
    written, faults, mixed = threading.Event(), [], 0
    reads = [0] * 8

    def read(thread: int) -> None:
        nonlocal mixed
        while not written.is_set():
            try:
                rows = world.read(IDS)
                versions = versions_in(rows)
                assert rows.found.all()
                mixed += len(versions) > 1
                reads[thread] += 1
            except Exception as error:  # whatever it is, it is a fault to be told
                faults.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(reads))]
    for thread in threads:
        thread.start()
    began, version = time.monotonic(), 1
    while (took := time.monotonic() - began) < 1.5 or (took < 60 and (version <= 5 or min(reads) <= 3)):
        version += 1
        world.put(rows_of(version, IDS))
    written.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert min(reads) > 3
    assert version > 5
    if place.online.get("backend") != "redis":
        assert mixed == 0
    assert world.version_of(IDS) == [version] * len(IDS)
    world.store.close()


# Forks


def test_children_of_a_fork_read_and_write_through_a_store_that_was_open(place: Place) -> None:
    with process(fork_while_open, place) as (parent, told):
        assert told.poll(120)  # some seconds, on a busy machine many
        assert told.recv() == [[1], [2], [2], [2], [2], [5]]
        assert ended(parent)


def fork_while_open(place: Place, connection: Connection) -> None:
    """Open a store, read and write, fork children that read and one that writes, with a thread reading meanwhile."""
    world, forks = World.at(place), multiprocessing.get_context("fork")
    world.put(rows_of(1, IDS))
    seen = [sorted(versions_in(world.read(IDS)))]
    stop = threading.Event()
    reading = threading.Thread(target=read_until, args=(world, stop))
    reading.start()
    world.put(rows_of(2, IDS))
    pipes = [forks.Pipe() for _ in range(4)]
    children = [forks.Process(target=tell_versions, args=(world, there)) for _, there in pipes]
    for child in children:
        child.start()
    seen += [here.recv() for here, _ in pipes]
    for child in children:
        child.join()
    writer = forks.Process(target=world.put, args=(rows_of(5, IDS),))
    writer.start()
    writer.join()
    stop.set()
    reading.join()
    assert [child.exitcode for child in (*children, writer)] == [0] * 5
    seen.append(sorted(versions_in(world.read(IDS))))
    connection.send(seen)


def tell_versions(world: World, connection: Connection) -> None:
    """Read ten times in a child and tell the versions; writing what is older changes nothing."""
    versions = set()
    for _ in range(10):
        versions |= versions_in(world.read(IDS))
        world.put(rows_of(1, IDS[:10]))
    connection.send(sorted(versions))


def read_until(world: World, stop: threading.Event) -> None:
    """Keep reading in a thread of the parent."""
    while not stop.is_set():
        versions_in(world.read(IDS[:100]))


def test_a_layout_is_remembered_by_whoever_writes_first(place: Place, redis_server: RedisServer) -> None:
    worlds: Sequence[World] = [World.at(place) for _ in range(4)]
    threads = [threading.Thread(target=world.put, args=(rows_of(1, IDS[:50]),)) for world in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    backend = worlds[0].store.backend(worlds[0].config)
    layout = table_of_view(worlds[0].view).layout
    assert backend.layout(worlds[0].table, layout.fingerprint) == layout
    worlds[0].store.close()
