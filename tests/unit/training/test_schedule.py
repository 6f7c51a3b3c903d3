"""The split by time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from feature_repo.paths import DataPaths
from shoprank.errors import UserError
from training.schedule import HORIZON, Schedule, monday, plan

FIRST, LAST = datetime(2017, 1, 1, 11), datetime(2018, 1, 1, 4)


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


def test_a_monday_is_its_own() -> None:
    assert monday(datetime(2017, 12, 4)) == datetime(2017, 12, 4)
    assert monday(datetime(2017, 12, 10, 23)) == datetime(2017, 12, 4)


def test_the_schedule_survives_the_disk(tmp_path: Path) -> None:
    schedule, paths = plan(FIRST, LAST), DataPaths(tmp_path)
    schedule.write(paths)
    assert Schedule.read(paths) == schedule


def test_reading_a_schedule_before_the_features_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shoprank features"):
        Schedule.read(DataPaths(tmp_path))
