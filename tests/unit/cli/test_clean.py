"""`shoprank clean` removes what the jobs made, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shoprank.cli import main


def clean(monkeypatch: pytest.MonkeyPatch, data: Path, models: Path) -> int:
    """Run it and return its exit code."""
    monkeypatch.setattr(
        sys, "argv", ["shoprank", "clean", "--data", str(data), "--model-repository", str(models), "--yes"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture(params=["quality.json", "movielens/quality.json", "ingest.tmp"])
def made(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Folders as the jobs leave them, also those of a study alone and of an ingest that was interrupted."""
    data, models = tmp_path / "data", tmp_path / "models"
    (models / "purchase" / "1").mkdir(parents=True)
    (models / "purchase" / "1" / "manifest.json").touch()
    sign = data / request.param
    sign.parent.mkdir(parents=True)
    sign.touch()
    return data, models


def test_what_was_made_is_removed_and_what_is_not_there_is_no_mistake(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, models = made
    assert clean(monkeypatch, data, models) == 0
    assert not data.exists()
    assert not models.exists()
    assert clean(monkeypatch, data, models) == 0
    assert f"there is neither {data} nor {models}" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["folder", "file", "link", "here"])
def test_what_shoprank_did_not_make_stays(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    data, models = made
    other = data.with_name("other")
    if what == "folder":
        other.mkdir()
        (other / "thesis.txt").touch()
    elif what == "file":
        other.touch()
    elif what == "link":
        other.symlink_to(models)
    else:
        other = data
        (data / "below").mkdir()
        monkeypatch.chdir(data / "below")
    assert clean(monkeypatch, other, models) == 2
    assert ("is no folder" if what == "file" else "nothing was removed") in capsys.readouterr().err
    assert other.exists()
    assert models.exists()
