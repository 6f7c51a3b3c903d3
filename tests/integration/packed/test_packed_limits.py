"""A full disk or a full map fails one write with a sentence that says why, and costs nothing that was there."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from shoprank.errors import FeatureStoreError
from tests.integration.packed_world import Place, World, ended, process, rows_of, users, versions_in

OLD, ALL = users(2_000), users(20_000)


def test_a_write_beyond_the_disk_says_so_and_leaves_the_old_rows(tmp_path: Path) -> None:
    place = Place(tmp_path)
    world = World.at(place)
    world.load(rows_of(1, OLD))
    folder = tmp_path / "online" / world.table
    with process(put_within_a_file_limit, place, (folder / "data.mdb").stat().st_size) as (writer, told):
        refused = told.recv()
        assert str(folder) in refused
        assert "File too large" in refused
        assert told.recv() == {1}
        assert versions_in(world.read(OLD)) == {1}
        assert not world.read(ALL[2_000:]).found.any()
        told.send("there is room again")
        assert told.recv() == {2}
        assert ended(writer)
    assert versions_in(world.read(ALL)) == {2}
    world.store.close()


def put_within_a_file_limit(place: Place, limit: int, connection: Connection) -> None:
    """Write more than files may hold; tell the error and what is read then; write again without the limit."""
    world = World.at(place)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with pytest.raises(FeatureStoreError) as caught:
        world.put(rows_of(2, ALL))
    connection.send(str(caught.value))
    connection.send(versions_in(world.read(OLD)))
    connection.recv()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    world.put(rows_of(2, ALL))
    connection.send(versions_in(world.read(ALL)))


@pytest.mark.parametrize("limit", [0, 4_096, 1 << 20])
def test_a_load_whose_temporary_file_does_not_fit_names_its_folder(tmp_path: Path, limit: int) -> None:
    place = Place(tmp_path)
    world = World.at(place)
    world.load(rows_of(1, OLD))
    with process(load_within_a_file_limit, place, limit) as (writer, told):
        refused = told.recv()
        assert tempfile.gettempdir() in refused
        assert "File too large" in refused
        assert str(tmp_path / "online") not in refused
        assert ended(writer)
    assert versions_in(world.read(OLD)) == {1}
    world.store.close()


def load_within_a_file_limit(place: Place, limit: int, connection: Connection) -> None:
    """Load more than files may hold and tell the error."""
    world = World.at(place)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    batch = rows_of(2, ALL if limit > 4_096 else OLD[:40])
    with pytest.raises(FeatureStoreError) as caught:
        world.load(batch)
    connection.send(str(caught.value))


def test_a_full_disk_leaves_the_old_rows_and_the_write_can_be_made_again_with_room(tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    with process(fill_a_disk, Place(disk)) as (writer, told):
        first = told.recv()
        if first == "not permitted":
            pytest.skip("a mount needs more rights than this process has")
        assert str(disk / "online") in first
        assert "0 MB of its disk are free" in first
        assert told.recv() == {1}
        assert told.recv() == {2}
        assert ended(writer)


def fill_a_disk(place: Place, connection: Connection) -> None:
    """Mount a disk of 16 MB that this process alone sees, fill it, write, make room, write again."""
    if not own_disk(place.root, "16m"):
        connection.send("not permitted")
        return
    world = World.at(place)
    world.put(rows_of(1, OLD))
    ballast = place.root / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(place.root).free - 200_000))
    with pytest.raises(FeatureStoreError) as caught:
        world.put(rows_of(2, ALL))
    connection.send(str(caught.value))
    connection.send(versions_in(world.read(OLD)))
    ballast.unlink()
    world.put(rows_of(2, ALL))
    connection.send(versions_in(world.read(ALL)))
    world.store.close()


def own_disk(folder: Path, size: str) -> bool:
    """Mount a disk in memory for this process alone; whether that is permitted."""
    new_mounts = 0x00020000
    if ctypes.CDLL(None).unshare(new_mounts):
        return False
    commands = (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)])
    return all(subprocess.run(command, capture_output=True).returncode == 0 for command in commands)


def test_a_full_map_names_the_setting_and_a_larger_one_holds_old_and_new(tmp_path: Path) -> None:
    small = World.at(Place(tmp_path, {"map_size_gb": 1 / 512}))
    small.load(rows_of(1, OLD))
    with pytest.raises(FeatureStoreError, match=r"map_size_gb") as caught:
        small.load(rows_of(2, ALL))
    assert str(tmp_path / "online" / small.table) in str(caught.value)
    assert versions_in(small.read(OLD)) == {1}
    assert not small.read(ALL[2_000:]).found.any()
    small.load(rows_of(2, OLD))
    small.store.close()
    large = World.at(Place(tmp_path, {"map_size_gb": 1 / 16}))
    assert versions_in(large.read(OLD)) == {2}
    large.load(rows_of(3, ALL))
    assert versions_in(large.read(ALL)) == {3}
    large.store.close()


def test_a_process_whose_map_was_outgrown_by_another_says_so(tmp_path: Path) -> None:
    small = Place(tmp_path, {"map_size_gb": 1 / 512})
    World.at(small).load(rows_of(1, OLD))
    with process(read_before_and_after, small, OLD) as (reader, told):
        assert told.recv() == "1"
        World.at(small).store.close()
        with process(load_all, Place(tmp_path, {"map_size_gb": 1 / 16})) as (writer, _):
            assert ended(writer)
        told.send("it has grown")
        answer = told.recv()
        assert answer == "2" or "map_size_gb" in answer
        assert ended(reader)


def read_before_and_after(place: Place, ids: list[str], connection: Connection) -> None:
    """Tell what is read before and after a message: a version, or an error."""
    world = World.at(place)
    connection.send(str(*versions_in(world.read(ids))))
    connection.recv()
    try:
        connection.send(str(*versions_in(world.read(ids))))
    except FeatureStoreError as error:
        connection.send(str(error))


def load_all(place: Place, connection: Connection) -> None:
    """Load version 2 of all the users."""
    World.at(place).load(rows_of(2, ALL))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "online").write_text("a file, not a folder")
    world = World.at(Place(tmp_path))
    with pytest.raises(FeatureStoreError, match=str(tmp_path / "online")):
        world.load(rows_of(1, OLD))


def test_a_file_that_is_no_lmdb_is_named_and_left_alone(tmp_path: Path) -> None:
    world = World.at(Place(tmp_path))
    file = tmp_path / "online" / world.table / "data.mdb"
    file.parent.mkdir(parents=True)
    file.write_bytes(foreign := os.urandom(8_192))
    for attempt in (lambda: world.load(rows_of(1, OLD)), lambda: world.read(OLD)):
        with pytest.raises(FeatureStoreError, match=str(file.parent)):
            attempt()
    assert file.read_bytes() == foreign
