"""Options that several commands share: what is wrong with a value is said before anything is done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shoprank.cli import main

FOLDERS = (
    ("ingest", "--data"),
    ("features", "--data"),
    ("apply", "--data"),
    ("apply", "--model-repository"),
    ("dataset", "--data"),
    ("materialize", "--data"),
    ("train", "--data"),
    ("evaluate", "--out"),
    ("model-card", "--out"),
    ("evaluate-served", "--out"),
    ("serve", "--data"),
    ("serve", "--model-repository"),
)


@pytest.mark.parametrize("below", ["", "folder"])
@pytest.mark.parametrize(("command", "option"), FOLDERS)
def test_a_file_where_a_folder_is_wanted_is_named_and_exits_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    option: str,
    below: str,
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("kept")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["shoprank", command, option, str(file / below)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (2, f"shoprank: {file}: is no folder\n")
    assert file.read_text() == "kept"


def test_a_folder_whose_name_is_too_long_is_named_and_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["shoprank", "apply", "--data", "a" * 300])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("a: File name too long\n")
