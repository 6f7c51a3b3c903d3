"""`shoprank ingest` and `shoprank synthesize`: what they print, and how they fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shoprank.cli import main
from tests.shop_log import HEADER, line, write_log


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run `shoprank` with these arguments and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["shoprank", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


Output = pytest.CaptureFixture[str]


def test_ingest_prints_the_quality_table_and_where_the_events_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    log = write_log(tmp_path / "events.csv", line(), line(price="-1"))
    assert run(monkeypatch, "ingest", "--source", "shoplog", "--file", log, "--data", tmp_path / "data") == 0
    shown = capsys.readouterr()
    for words in ("data quality of shoplog", "rejected: negative price", "of type view", "event_time"):
        assert words in shown.out
    last = shown.out.replace("\n", " ")
    assert f"ingest: 1 of 2 events of 1 users kept in {tmp_path / 'data' / 'events'}" in last


def test_ingest_shows_the_first_row_of_each_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    spoiled = [line(price=f'"{price}"') for price in ("1,299.00", "[b]2,299.00")]
    log = write_log(tmp_path / "events.csv", line(), *spoiled, line(user_id=""), "what is this", line(), line(), line())
    assert run(monkeypatch, "ingest", "--source", "shoplog", "--file", log, "--data", tmp_path / "data") == 0
    rows = [
        " ".join(shown.split("│")).split() for shown in capsys.readouterr().out.splitlines() if "rejected:" in shown
    ]
    assert [" ".join(row) for row in rows] == [
        "rejected: exact duplicate 3 row 5 of events.csv",
        "rejected: price is not a number 2 row 2 of events.csv: '1,299.00'",
        "rejected: malformed line: missing columns 1 line 6 of events.csv: 'what is this'",
        "rejected: missing user_id 1 row 4 of events.csv",
    ]


def test_ingest_says_what_it_replaces_and_that_nothing_is_a_purchase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    log = write_log(tmp_path / "events.csv", line(), line(event_time="2019-10-02 00:00:00 UTC"))
    arguments = ("ingest", "--source", "shoplog", "--file", log, "--data", tmp_path / "data")
    assert run(monkeypatch, *arguments) == 0
    first = capsys.readouterr().out
    assert "were there before" not in first
    assert "ingest: none of the events is a purchase, which is what models learn from" in first
    assert run(monkeypatch, *arguments) == 0
    again = capsys.readouterr().out.replace("\n", " ")
    assert "ingest: 2 events from 2019-10-0" in again
    assert "were there before and are replaced; to keep them give their files again, too" in again


@pytest.mark.parametrize("source", ["shoplog", "table"])
def test_a_missing_file_exits_2_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output, source: str
) -> None:
    column_map = tmp_path / "map.toml"
    column_map.write_text('columns = { event_time = "a", user_id = "b", item_id = "c", event_type = "d" }')
    options = ["--source", source, "--file", tmp_path / "nowhere.csv", "--data", tmp_path / "data"]
    assert run(monkeypatch, "ingest", *options, *(["--map", column_map] if source == "table" else [])) == 2
    shown = capsys.readouterr()
    assert shown.err.strip() == f"shoprank: {tmp_path / 'nowhere.csv'}: no such file"
    assert shown.out == ""


def test_a_file_for_the_packaged_data_exits_2(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    assert run(monkeypatch, "ingest", "--file", "events.csv") == 2
    assert "--file: source completejourney reads its package" in capsys.readouterr().err


def test_a_table_without_a_map_exits_2(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    assert run(monkeypatch, "ingest", "--source", "table", "--file", "events.csv") == 2
    assert "--map: source table needs a column map" in capsys.readouterr().err


def test_until_rejects_what_is_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    log = write_log(tmp_path / "events.csv", line(), line(event_time="2019-10-02 00:00:00 UTC"))
    options = ["--source", "shoplog", "--file", log, "--data", tmp_path / "data", "--until", "2019-10-01T12:00:00"]
    assert run(monkeypatch, "ingest", *options) == 0
    assert "rejected: future time" in capsys.readouterr().out


def test_no_usable_row_exits_2_with_the_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    log = write_log(tmp_path / "events.csv", line(price="-1"))
    assert run(monkeypatch, "ingest", "--source", "shoplog", "--file", log, "--data", tmp_path / "data") == 2
    assert "no usable row among 1; rejected: negative price: 1 (row 1 of events.csv: '-1')" in capsys.readouterr().err


def test_synthesize_writes_a_log_that_ingest_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    log = tmp_path / "new" / "events.csv"
    assert run(monkeypatch, "synthesize", "--out", log, "--events", 500, "--users", 20, "--items", 10) == 0
    assert capsys.readouterr().out == f"synthesize: 500 events in {log}\n"
    assert log.read_text().startswith(HEADER)
    assert run(monkeypatch, "ingest", "--source", "shoplog", "--file", log, "--data", tmp_path / "data") == 0


def test_synthesize_into_a_folder_exits_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    assert run(monkeypatch, "synthesize", "--out", tmp_path) == 2
    assert "a folder, not a file" in capsys.readouterr().err
