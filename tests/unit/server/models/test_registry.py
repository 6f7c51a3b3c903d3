"""What is loaded when, and who serves, as the repository changes."""

from __future__ import annotations

import gc
import logging
import shutil
import threading
import weakref
from pathlib import Path

import pytest

from server.models.status import Role, State, VersionStatus, status
from shoprank import bundle, traffic
from shoprank.errors import BundleError, Conflict, NotFound
from shoprank.traffic import Share, Traffic
from tests.unit.server.models.bundles import World, write


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, versions=4)
    world.models.open()
    return world


def spoil(directory: Path) -> None:
    (directory / bundle.MODEL).write_bytes(b"other bytes")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


def test_at_the_start_the_active_version_alone_is_loaded(world: World) -> None:
    assert (world.active, world.loaded) == (1, (1,))


def test_a_switched_link_is_followed_and_the_old_version_kept(world: World) -> None:
    world.activate(2)
    world.models.refresh()
    assert (world.active, world.loaded, world.models.counts.swaps) == (2, (1, 2), 1)


def test_nothing_is_loaded_twice_when_nothing_changed(world: World) -> None:
    world.activate(2)
    for _ in range(5):
        world.models.refresh()
    assert world.opener.opened == [1, 2]


def test_the_old_version_answers_while_the_new_one_loads(world: World) -> None:
    during: list[int] = []
    world.opener.before = lambda directory: during.append(world.active)
    world.activate(2)
    world.models.refresh()
    assert (during, world.active) == ([1], 2)


def test_retired_versions_are_kept_and_older_ones_released_from_memory(world: World) -> None:
    first = weakref.ref(world.models.of("u").session)
    for version in (2, 3, 4):
        world.activate(version)
        world.models.refresh()
    gc.collect()
    assert world.loaded == (2, 3, 4)
    assert first() is None


def test_a_version_is_not_released_before_the_call_that_uses_it_ends(world: World) -> None:
    in_use = world.models.of("u")
    for version in (2, 3, 4):
        world.activate(version)
        world.models.refresh()
    assert in_use.manifest.version == 1


def test_keeping_none_releases_at_the_swap(tmp_path: Path) -> None:
    world = World(tmp_path, versions=2, keep=0)
    world.models.open()
    world.activate(2)
    world.models.refresh()
    assert world.loaded == (2,)


def test_a_new_bundle_is_loaded_ahead_and_old_ones_are_not(world: World) -> None:
    write(world.root, 5)
    world.models.refresh()
    assert (world.active, world.loaded) == (1, (1, 5))
    world.activate(5)
    world.models.refresh()
    assert world.opener.opened == [1, 5]


def test_many_new_bundles_do_not_fill_the_memory_and_do_not_take_turns(world: World) -> None:
    for version in range(5, 12):
        write(world.root, version)
    for _ in range(4):
        world.models.refresh()
    assert world.loaded == (1, 10, 11)
    assert world.opener.opened == [1, 10, 11]


def test_a_rollback_needs_no_loading(world: World) -> None:
    world.models.activate(2)
    opened = list(world.opener.opened)
    assert (world.models.rollback(), world.active) == (1, 1)
    assert world.opener.opened == opened


def test_after_a_restart_the_version_before_is_loaded_for_a_rollback(world: World) -> None:
    world.activate(2)
    again = World.__new__(World)
    again.__dict__ |= world.__dict__
    again.models = type(world.models)(world.root, "m", world.opener)
    again.models.open()
    loaded = [again.loaded]
    again.models.refresh()
    assert [*loaded, again.loaded] == [(2,), (1, 2)]


def test_a_bad_version_is_refused_once_and_the_old_one_serves(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.activate(2)
    spoil(world.root / "m" / "2")
    for now in (0, 1, 1.9):
        world.clock.now = now
        world.models.refresh()
    assert (errors(caplog), world.models.counts.refusals) == ([], 0)
    assert _state(world, 2) is State.WAITING
    for now in (2, 3, 4):
        world.clock.now = now
        world.models.refresh()
    assert (world.active, world.models.counts.refusals) == (1, 1)
    assert len(errors(caplog)) == 1
    assert "version 2 is refused" in errors(caplog)[0]
    assert "SHA-256" in errors(caplog)[0]
    assert _state(world, 2) is State.REFUSED


def test_a_refused_version_that_is_mended_serves(world: World) -> None:
    world.activate(2)
    good = (world.root / "m" / "2" / bundle.MODEL).read_bytes()
    spoil(world.root / "m" / "2")
    world.models.refresh()
    world.clock.now = 5
    world.models.refresh()
    assert world.active == 1
    (world.root / "m" / "2" / bundle.MODEL).write_bytes(good)
    world.models.refresh()
    assert (world.active, _state(world, 2)) == (2, State.LOADED)


def test_a_ranking_model_that_is_served_more_slowly_is_told_of(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert not caplog.records
    write(world.root, 9, kind="ranking")
    world.activate(9)
    world.models.refresh()
    (told,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert told.startswith("m: version 9 lacks item.onnx, user.onnx, top.onnx")


def test_a_half_copied_bundle_is_waited_for(world: World, caplog: pytest.LogCaptureFixture) -> None:
    source = write(world.root.parent / "elsewhere", 5)
    target = world.root / "m" / "5"
    target.mkdir()
    shutil.copy(source / bundle.MANIFEST, target)
    for step, content in enumerate((b"", b"gra", b"graph ", b"graph 5")):
        world.clock.now = step * 1.5
        (target / bundle.MODEL).write_bytes(content)
        world.models.refresh()
    assert (errors(caplog), world.models.counts.refusals) == ([], 0)
    assert world.loaded == (1, 5)


def test_a_half_written_manifest_is_waited_for(world: World) -> None:
    manifest = world.root / "m" / "2" / bundle.MANIFEST
    whole = manifest.read_text()
    world.activate(2)
    manifest.write_text(whole[:100])
    world.models.refresh()
    assert world.active == 1
    manifest.write_text(whole)
    world.models.refresh()
    assert world.active == 2


def test_a_link_to_no_version_is_refused(world: World, caplog: pytest.LogCaptureFixture) -> None:
    link = world.root / "m" / bundle.CURRENT
    link.unlink()
    link.symlink_to("77")
    for world.clock.now in (0, 3, 6):
        world.models.refresh()
    assert world.active == 1
    assert len(errors(caplog)) == 1
    assert _state(world, 77) is State.REFUSED


def test_a_removed_link_changes_nothing(world: World) -> None:
    (world.root / "m" / bundle.CURRENT).unlink()
    world.models.refresh()
    assert world.active == 1


def test_where_the_link_was_removed_none_is_told_as_current(world: World) -> None:
    (world.root / "m" / bundle.CURRENT).unlink()
    world.models.refresh()
    told = status(world.models)
    assert (told.current, told.active) == (0, 1)


def test_a_version_deleted_while_it_serves_is_served_from_memory(world: World) -> None:
    shutil.rmtree(world.root / "m" / "1")
    for world.clock.now in (0, 5):
        world.models.refresh()
    assert (world.active, world.models.counts.refusals) == (1, 0)
    assert _state(world, 1) is State.LOADED


def test_the_whole_folder_may_be_deleted_while_it_serves(world: World) -> None:
    shutil.rmtree(world.root / "m")
    for world.clock.now in (0, 5):
        world.models.refresh()
    assert world.active == 1


def test_a_version_spoiled_while_it_serves_goes_on_from_memory(world: World) -> None:
    spoil(world.root / "m" / "1")
    for world.clock.now in (0, 5):
        world.models.refresh()
    assert (world.active, world.models.counts.refusals) == (1, 1)


def test_another_bundle_under_an_old_number_is_loaded_anew(world: World) -> None:
    world.activate(4)
    world.models.refresh()
    world.activate(3)
    world.models.refresh()
    shutil.rmtree(world.root / "m" / "4")
    write(world.root, 4, b"trained again")
    world.activate(4)
    world.models.refresh()
    assert world.models.of("u").manifest.files[bundle.MODEL] == bundle.sha256(world.root / "m" / "4" / bundle.MODEL)


def test_a_canary_that_cannot_be_loaded_gets_nobody(world: World) -> None:
    spoil(world.root / "m" / "2")
    traffic.write(world.root / "m", Traffic(Share(2, 10_000)))
    world.models.refresh()
    assert (world.active, world.models.canary) == (1, None)


def test_a_garbled_traffic_file_leaves_the_traffic_and_is_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    traffic.write(world.root / "m", Traffic(Share(2, 10_000), loaded=(3,)))
    world.models.refresh()
    (world.root / "m" / traffic.TRAFFIC).write_text('{"format": 1, "canary"')
    for _ in range(3):
        world.models.refresh()
    assert (world.active, world.loaded) == (2, (1, 2, 3))
    assert world.models.counts.garbled == 1
    assert len(errors(caplog)) == 1
    assert "the traffic stays as it was" in errors(caplog)[0]
    world.models.route(lambda now: Traffic(None, None, now.loaded))
    assert traffic.read(world.root / "m") == Traffic(loaded=(3,))


def test_a_version_asked_for_is_kept_however_many_come_after(world: World) -> None:
    world.models.load(1)
    for version in (2, 3, 4):
        world.models.activate(version)
    before = world.loaded
    world.models.unload(1)
    world.models.refresh()
    assert [before, world.loaded] == [(1, 2, 3, 4), (2, 3, 4)]


def test_what_serves_is_not_unloaded(world: World) -> None:
    world.models.route(lambda now: Traffic(Share(2, 1), Share(3, 1)))
    for version in (1, 2, 3):
        with pytest.raises(Conflict, match=f"version {version} serves"):
            world.models.unload(version)
    with pytest.raises(NotFound, match="no version 9 in"):
        world.models.unload(9)


def test_an_unloaded_version_stays_so_until_it_is_asked_for(world: World) -> None:
    world.models.activate(2)
    world.models.unload(1)
    world.models.refresh()
    assert world.loaded == (2,)
    assert (world.models.rollback(), world.active) == (1, 1)


def test_a_bad_version_is_not_activated_and_nothing_changes(world: World) -> None:
    spoil(world.root / "m" / "2")
    with pytest.raises(BundleError, match="SHA-256"):
        world.models.activate(2)
    with pytest.raises(NotFound, match="no version 9"):
        world.models.activate(9)
    assert (world.active, bundle.linked(world.root, "m"), world.models.counts.refusals) == (1, 1, 1)


def test_the_reason_against_a_version_is_told_until_its_files_change(world: World) -> None:
    second = world.root / "m" / "2"
    good = (second / bundle.MODEL).read_bytes()
    spoil(second)
    with pytest.raises(BundleError, match="SHA-256"):
        world.models.activate(2)
    assert "SHA-256" in _told(world)[2].reason
    (second / bundle.MODEL).write_bytes(good)
    assert (_told(world)[2].state, _told(world)[2].reason) == (State.AVAILABLE, "")


def test_a_bad_version_that_was_removed_is_told_of_only_while_it_is_asked_for(world: World) -> None:
    spoil(world.root / "m" / "2")
    traffic.write(world.root / "m", Traffic(Share(2, 100)))
    world.models.refresh()
    shutil.rmtree(world.root / "m" / "2")
    world.models.refresh()
    assert _told(world)[2].reason != ""
    traffic.write(world.root / "m", Traffic())
    world.models.refresh()
    assert sorted(_told(world)) == [1, 3, 4]


def test_checking_a_version_loads_it_and_changes_nothing(world: World) -> None:
    world.models.check(2, expected=1)
    with pytest.raises(Conflict, match="version 1 is active, not 3"):
        world.models.check(2, expected=3)
    assert (world.active, bundle.linked(world.root, "m"), world.loaded) == (1, 1, (1, 2))


def test_of_many_who_expect_the_same_version_one_activates(world: World) -> None:
    done: list[int] = []

    def activate(version: int) -> None:
        try:
            world.models.activate(version, expected=1)
        except Conflict:
            return
        done.append(version)

    threads = [threading.Thread(target=activate, args=(v,)) for v in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [world.active]


def test_a_process_publishes_what_it_has(world: World) -> None:
    world.models.activate(2)
    (state,) = world.models.processes.states("m")
    assert (state.active, state.loaded) == (2, (1, 2))


def test_the_roles_and_states_of_all_versions_are_told(world: World) -> None:
    world.models.activate(2)
    world.models.route(lambda now: Traffic(Share(3, 100), Share(4, 100)))
    told = {v.version: (v.state, v.roles) for v in status(world.models).versions}
    assert told == {
        1: (State.LOADED, (Role.PREVIOUS,)),
        2: (State.LOADED, (Role.ACTIVE,)),
        3: (State.LOADED, (Role.CANARY,)),
        4: (State.LOADED, (Role.SHADOW,)),
    }


def test_no_active_version_is_said_at_the_start(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "m" / bundle.CURRENT).unlink()
    with pytest.raises(BundleError, match="no active model"):
        world.models.open()
    with pytest.raises(BundleError, match="no version is loaded"):
        world.models.of("u")


def _told(world: World) -> dict[int, VersionStatus]:
    return {told.version: told for told in status(world.models).versions}


def _state(world: World, version: int) -> State:
    return _told(world)[version].state
