"""What was known at a cutoff: nothing later is in the folder, and it is made once."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.paths import DataPaths, write_json
from feature_repo.snapshots import snapshot_path
from shoprank.errors import UserError
from tests.world import EVENT_SCHEMA, START, event, events, write_world
from training.features.snapshots import write_snapshots
from training.ingest.known import write_known
from training.retrieval.log import read_log
from training.schedule import HORIZON

CUTOFF = datetime(2024, 5, 6)


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    return write_world(tmp_path / "data", events())


def events_of(paths: DataPaths) -> pa.Table:
    return pq.read_table(paths.events)


def test_every_event_before_the_cutoff_is_known_and_none_of_it_or_later(tmp_path: Path) -> None:
    paths = write_world(tmp_path / "data", [*events(), event("u1", "i1", CUTOFF)])
    known = DataPaths(tmp_path / "known")
    assert write_known(paths, CUTOFF, known)
    expected = [one for one in events() if one["event_time"] < CUTOFF]
    found = events_of(known)
    assert found.schema.names == EVENT_SCHEMA.names
    assert found.schema.types == EVENT_SCHEMA.types
    assert sorted(found["event_id"].to_pylist()) == sorted(one["event_id"] for one in expected)
    quality = json.loads(known.quality.read_text())
    assert (quality["source"], quality["rows_kept"]) == ("world", len(expected))
    assert datetime.fromisoformat(quality["last"]) == max(one["event_time"] for one in expected)
    assert len(read_log(known)) == len(read_log(paths).before(CUTOFF))


def test_what_comes_after_changes_no_feature_of_what_was_known(paths: DataPaths, tmp_path: Path) -> None:
    before = [one for one in events() if one["event_time"] < CUTOFF]
    otherwise = write_world(
        tmp_path / "other", [*before, *(event("u2", "i140", CUTOFF + timedelta(hours=n)) for n in range(99))]
    )
    made = []
    for name, source in (("a", paths), ("b", otherwise)):
        known = DataPaths(tmp_path / name)
        write_known(source, CUTOFF, known)
        list(write_snapshots(known, [CUTOFF], memory_limit="500MB"))
        made.append([pq.read_table(snapshot_path(known, v, CUTOFF)) for v in ("user_features", "item_features")])
    assert made[0] == made[1]


def test_of_the_plan_what_begins_within_the_week_is_known(paths: DataPaths, tmp_path: Path) -> None:
    starts = [START, CUTOFF, CUTOFF + HORIZON - timedelta(days=1), CUTOFF + HORIZON]
    pq.write_table(pa.table({"item_id": ["i1"] * 4, "starts_at": starts}), paths.promotions)
    known = DataPaths(tmp_path / "known")
    write_known(paths, CUTOFF, known)
    assert pq.read_table(known.promotions)["starts_at"].to_pylist() == starts[:3]


def test_a_second_run_leaves_what_is_there_and_other_events_are_written_anew(paths: DataPaths, tmp_path: Path) -> None:
    known = DataPaths(tmp_path / "known")
    assert write_known(paths, CUTOFF, known)
    assert not write_known(paths, CUTOFF, known)
    assert write_known(paths, CUTOFF - HORIZON, known)
    assert max(events_of(known)["event_time"].to_pylist()) < CUTOFF - HORIZON
    write_json(paths.quality, json.loads(paths.quality.read_text()) | {"fingerprint": "of other events"})
    assert write_known(paths, CUTOFF - HORIZON, known)


def test_a_cutoff_before_all_events_is_refused(paths: DataPaths, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no event lies before it"):
        write_known(paths, START, DataPaths(tmp_path / "known"))
