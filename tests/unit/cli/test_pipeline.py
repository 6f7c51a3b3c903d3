"""The offline jobs: which weeks `features` lays out, and which options each refuses."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_repo.paths import DataPaths
from feature_repo.snapshots import snapshot_path
from shoprank.cli import main
from shoprank.cli.app import app
from shoprank.errors import UserError
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


@pytest.fixture
def few(tmp_path: Path) -> DataPaths:
    """Five weeks of events."""
    return write_world(tmp_path / "data", [one for one in events() if one["event_time"] < datetime(2024, 2, 5)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("features", "--test-cutoff", "0001-01-01"), "test cutoff 0001-01-01 00:00:00: no event lies before it"),
        (("features", "--test-cutoff", "9999-12-31"), "test cutoff 9999-12-31 00:00:00: the events end at"),
        (("features", "--until", "0001-01-01"), "complete until 0001-01-01 00:00:00: none lies before it"),
        (("features", "--until", "9999-12-31"), "--until 9999-12-31 00:00:00: is still to come"),
        (("features", "--memory-limit", "abc"), "memory limit 'abc': not a size such as 500MB"),
        (("features", "--memory-limit", "1MB"), "memory limit '1MB': too small"),
        (("evaluate-cold-start", "--test-weeks", "99999999"), "99999999 test weeks: the events from"),
    ],
)
def test_an_option_beyond_what_can_be_is_refused_by_name(few: DataPaths, options: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, [*options, "--data", str(few.root)])
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)


def test_apply_says_where_there_is_nothing_to_apply_to(few: DataPaths, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["apply", "--data", str(few.root), "--model-repository", str(tmp_path / "models")])
    assert f"apply: no ranking model in {tmp_path / 'models'} yet; apply again once one is trained" in done.output
    done = CliRunner().invoke(app, ["apply", "--data", str(tmp_path / "nowhere")])
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == f"{tmp_path / 'nowhere'}: no such folder; run `shoprank ingest` first"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("job", ["dataset", "evaluate"])
def test_a_negative_seed_is_refused(job: str) -> None:
    done = CliRunner().invoke(app, [job, "--seed", "-1"])
    assert done.exit_code == 2
    assert "--seed" in done.output


@pytest.mark.parametrize(
    ("command", "first"),
    [
        (("features",), "run `shoprank ingest` first"),
        (("evaluate-cold-start",), "run `shoprank ingest` first"),
        (("dataset",), "run `shoprank features` first"),
        (("materialize",), "run `shoprank features` first"),
        (("materialize", "--cutoff", "2024-06-17"), "run `shoprank apply` first"),
        (("evaluate", "--model-repository", "none"), "run `shoprank train` first"),
        (("model-card", "--model-repository", "none"), "run `shoprank train` first"),
    ],
)
def test_what_has_to_be_done_first_is_a_mistake_of_the_users(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    first: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["shoprank", *command, "--data", "empty"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert first in capsys.readouterr().err
