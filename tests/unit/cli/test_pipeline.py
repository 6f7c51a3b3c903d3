"""`shoprank features`: which weeks it lays out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from typer.testing import CliRunner

from feature_repo.snapshots import snapshot_path
from shoprank.cli.app import app
from tests.world import events, write_world
from training.schedule import HORIZON, Schedule


def test_until_says_of_which_monday_the_newest_snapshot_is(tmp_path: Path) -> None:
    monday = datetime(2024, 6, 17)
    paths = write_world(tmp_path / "data", [one for one in events() if one["event_time"] < monday])
    arguments = ["features", "--data", str(paths.root), "--train-weeks", "1", "--until", f"{monday:%Y-%m-%d}"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    schedule = Schedule.read(paths)
    assert (schedule.serving, schedule.test) == (monday, monday - HORIZON)
    assert snapshot_path(paths, "item_features", monday).is_file()
