"""Events are read where all of them are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feature_repo.paths import DataPaths, write_json
from shoprank.errors import Conflict, UserError
from tests.world import events, write_world
from training.ingested import events_pattern, events_table, require_events, unchanged
from training.retrieval.log import read_log


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    return write_world(tmp_path, events())


def test_whole_events_are_read(paths: DataPaths) -> None:
    require_events(paths)
    assert str(paths.events) in events_table(paths)
    assert events_pattern(paths).startswith(str(paths.events))


def test_a_missing_file_is_told_by_the_events_that_are_not_there(paths: DataPaths) -> None:
    sorted(paths.events.glob("*.parquet"))[0].unlink()
    with pytest.raises(UserError, match=r"events are there, and [\d,]+ were kept; run `shoprank ingest` first"):
        read_log(paths)


def test_a_damaged_file_is_named(paths: DataPaths) -> None:
    part = sorted(paths.events.glob("*.parquet"))[-1]
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"{part}: is damaged: .*; run `shoprank ingest` first"):
        read_log(paths)


def test_events_that_are_ingested_while_others_are_read_are_told_of(paths: DataPaths) -> None:
    with unchanged(paths):
        read_log(paths)
    report = json.loads(paths.quality.read_text())
    with pytest.raises(Conflict, match="other events were ingested while these were read"), unchanged(paths):
        write_json(paths.quality, report | {"fingerprint": "of other events"})
    with pytest.raises(Conflict, match="other events were ingested while these were read"), unchanged(paths):
        paths.quality.unlink()


def test_a_report_that_does_not_say_how_many_there_are_is_damaged(paths: DataPaths) -> None:
    for text in ("{", "{}", '{"rows_kept": "many"}'):
        paths.quality.write_text(text)
        with pytest.raises(UserError, match=r"quality\.json: is damaged; run `shoprank ingest` first"):
            require_events(paths)
    paths.quality.unlink()
    with pytest.raises(UserError, match=r"quality\.json: no such file; run `shoprank ingest` first"):
        require_events(paths)
