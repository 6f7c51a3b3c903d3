"""A store in LMDB whose files another process removes and makes anew, under one that reads it."""

from __future__ import annotations

import shutil
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from feature_repo.packed.lmdb_backend import LmdbBackend
from shoprank.errors import FeatureStoreError
from tests.integration.packed_world import Place, World, process, rows_of, users

IDS = users(3)


def fill(place: Place, version: int, connection: Connection) -> None:
    """Write a version of all rows, in one write."""
    world = World.at(place)
    world.load(rows_of(version, IDS))
    world.store.close()
    connection.send("written")


def filled(place: Place, version: int) -> None:
    """Have a process of its own write a version of all rows."""
    with process(fill, place, version) as (_, told):
        assert told.poll(60)
        assert told.recv() == "written"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    filled(place, 1)
    return place


@pytest.fixture
def world(place: Place) -> World:
    return World.at(place)


def backend_of(world: World) -> LmdbBackend:
    backend = world.store.backend(world.config)
    assert isinstance(backend, LmdbBackend)
    return backend


def test_a_store_that_was_removed_is_told_of_and_read_as_it_was(place: Place, world: World) -> None:
    backend = backend_of(world)
    backend.check([world.table])
    assert world.version_of(IDS) == [1, 1, 1]
    shutil.rmtree(place.root / "online")
    with pytest.raises(FeatureStoreError, match="the online store was removed"):
        backend.check([world.table])
    assert world.version_of(IDS) == [1, 1, 1]


def test_a_store_in_the_place_of_another_is_read_once_it_was_looked_for(place: Place, world: World) -> None:
    backend = backend_of(world)
    for version in (1, 2, 3):
        assert world.version_of(IDS) == [version] * 3
        shutil.rmtree(place.root / "online")
        filled(place, version + 1)
        backend.check([world.table])
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if f"{place.root}/" in line]
    assert len([line for line in mapped if "data.mdb" in line]) == 1  # the former ones take no room


def test_what_was_kept_of_the_former_store_counts_as_changed_though_both_had_as_many_writes(
    place: Place, world: World
) -> None:
    backend = backend_of(world)
    before = backend.version(world.table)
    shutil.rmtree(place.root / "online")
    filled(place, 2)
    backend.check([world.table])
    after = backend.version(world.table)
    assert after > before
    assert backend.changed(world.table, before) == (after, None)
    assert backend.changed(world.table, after) == (after, [])
    world.put(rows_of(3, IDS[:1]))
    version, keys = backend.changed(world.table, after)
    assert (version, len(keys or [])) == (after + 1, 1)


def test_a_writer_writes_to_the_store_that_is_there(place: Place, world: World) -> None:
    assert world.version_of(IDS) == [1, 1, 1]
    shutil.rmtree(place.root / "online")
    world.put(rows_of(2, IDS[:1]))
    assert World.at(place).version_of(IDS) == [2, None, None]
