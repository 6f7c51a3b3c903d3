"""The split by time."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from feature_repo.paths import DataPaths, write_json
from feature_repo.snapshots import WRITTEN, snapshot_path
from shoprank.errors import UserError
from tests.world import END, START, events, write_world
from training.features.snapshots import write_snapshots
from training.schedule import HORIZON, Schedule, monday, plan

FIRST, LAST = datetime(2017, 1, 1, 11), datetime(2018, 1, 1, 4)
TEST = datetime(2024, 6, 17)


def test_the_default_test_week_is_the_last_complete_one() -> None:
    schedule = plan(FIRST, LAST)
    assert schedule.test == datetime(2017, 12, 25)
    assert schedule.serving == datetime(2018, 1, 1)


def test_events_that_are_complete_until_a_monday_are_served_as_of_it() -> None:
    schedule = plan(FIRST, datetime(2017, 12, 4))
    assert schedule.serving == datetime(2017, 12, 4)
    assert schedule.test == datetime(2017, 11, 27)


def test_label_windows_of_a_split_end_before_the_next() -> None:
    schedule = plan(FIRST, LAST, datetime(2017, 12, 4))
    assert schedule.train[-1] + HORIZON <= schedule.validation[0]
    assert schedule.validation[-1] + HORIZON <= schedule.test


def test_short_data_trains_on_the_weeks_there_are() -> None:
    assert len(plan(datetime(2017, 10, 1), LAST, train_weeks=30).train) == 10


def test_too_little_data_is_refused() -> None:
    with pytest.raises(UserError, match="no week to train on"):
        plan(datetime(2017, 12, 20), LAST)


def test_a_test_week_that_is_not_over_is_refused() -> None:
    with pytest.raises(UserError, match="before the label window of 7 days is over"):
        plan(FIRST, LAST, datetime(2017, 12, 31))


@pytest.mark.parametrize("test", [datetime.min, datetime(1969, 12, 31), FIRST])
def test_a_test_cutoff_before_all_events_is_refused(test: datetime) -> None:
    with pytest.raises(UserError, match=f"test cutoff {test}: no event lies before it; the first is of {FIRST}"):
        plan(FIRST, LAST, test)


def test_a_test_cutoff_at_the_end_of_time_is_refused() -> None:
    with pytest.raises(UserError, match="test cutoff 9999-12-31 00:00:00: the events end at"):
        plan(FIRST, LAST, datetime(9999, 12, 31))


def test_events_that_are_complete_until_before_the_first_are_refused() -> None:
    with pytest.raises(UserError, match="complete until 0001-01-01 00:00:00: none lies before it"):
        plan(FIRST, datetime.min)


@pytest.mark.parametrize("weeks", [99_999_999, 10**24])
def test_more_weeks_than_time_has_are_as_many_as_the_events_have(weeks: int) -> None:
    assert plan(FIRST, LAST, train_weeks=weeks).train == plan(FIRST, LAST, train_weeks=100).train


def test_a_monday_is_its_own() -> None:
    assert monday(datetime(2017, 12, 4)) == datetime(2017, 12, 4)
    assert monday(datetime(2017, 12, 10, 23)) == datetime(2017, 12, 4)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """A small shop with the snapshots of a schedule, and that schedule, written."""
    paths = write_world(tmp_path_factory.mktemp("shop") / "data", events())
    schedule = plan(START, END, TEST, train_weeks=1, validation_weeks=1)
    for _ in write_snapshots(paths, schedule.cutoffs, memory_limit="500MB"):
        pass
    schedule.write(paths)
    return paths


@pytest.fixture
def paths(shop: DataPaths, tmp_path: Path) -> DataPaths:
    """A copy of it, free to be changed."""
    shutil.copytree(shop.root, tmp_path / "data")
    return DataPaths(tmp_path / "data")


@pytest.fixture
def schedule() -> Schedule:
    """The schedule that was written."""
    return plan(START, END, TEST, train_weeks=1, validation_weeks=1)


def test_the_schedule_survives_the_disk(paths: DataPaths, schedule: Schedule) -> None:
    assert Schedule.read(paths) == schedule


def test_a_schedule_of_events_that_were_ingested_before_is_refused(paths: DataPaths) -> None:
    write_json(paths.quality, json.loads(paths.quality.read_text()) | {"fingerprint": "of other events"})
    with pytest.raises(UserError, match="is of other events or features; run `shoprank features` first"):
        Schedule.read(paths)


def test_a_schedule_without_the_snapshots_of_all_its_weeks_is_refused(paths: DataPaths, schedule: Schedule) -> None:
    snapshot_path(paths, "item_features", schedule.test).unlink()
    with pytest.raises(UserError, match="no snapshot of 2024-06-17"):
        Schedule.read(paths)


def test_snapshots_of_another_schedule_keep_nobody_from_reading_this_one_but_are_not_joined(
    paths: DataPaths, schedule: Schedule
) -> None:
    for snapshots in write_snapshots(paths, [TEST - timedelta(days=3), *schedule.cutoffs], memory_limit="500MB"):
        assert snapshots.is_file()
    assert Schedule.read(paths) == schedule
    with pytest.raises(UserError, match=r"2024-06-14T000000\.parquet: is of no week of .*schedule\.json; run"):
        schedule.require_snapshots(paths)


@pytest.mark.parametrize("content", ["x", "[]", '{"train": []}'])
def test_a_damaged_schedule_is_named_with_the_command_that_mends_it(paths: DataPaths, content: str) -> None:
    paths.schedule.write_text(content)
    with pytest.raises(UserError, match=r"schedule\.json: is damaged; run `shoprank features` first"):
        Schedule.read(paths)


@pytest.mark.parametrize("content", ["x", "", "[1]"])
def test_snapshots_that_nothing_tells_of_are_made_again(paths: DataPaths, schedule: Schedule, content: str) -> None:
    (paths.features / WRITTEN).write_text(content)
    with pytest.raises(UserError, match="run `shoprank features` first"):
        Schedule.read(paths)
    list(write_snapshots(paths, schedule.cutoffs, memory_limit="500MB"))
    assert Schedule.read(paths) == schedule


def test_reading_a_schedule_before_the_features_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shoprank features"):
        Schedule.read(DataPaths(tmp_path))
