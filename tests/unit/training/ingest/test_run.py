"""An ingest replaces what was there as a whole, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.paths import DataPaths
from shoprank.errors import Conflict, UserError
from tests.shop_log import UNTIL, Ingested, ingest_file, ingest_log, line, rows, write_log
from training.features.snapshots import write_snapshots
from training.ingest import ingest
from training.ingest.shoplog import ShopLog
from training.ingested import event_range

ENDLESS = """
import sys, time
from pathlib import Path
from feature_repo.paths import DataPaths
from training.ingest import ingest
from training.ingest.shoplog import ShopLog

def stage(name, done, total):
    print("running", flush=True)
    time.sleep(600)

ingest(ShopLog([sys.argv[1]]), DataPaths(Path(sys.argv[2])), stage=stage)
"""
"""An ingest that does not come to its end."""


def contents(paths: DataPaths) -> dict[str, bytes]:
    """Every file below the data folder."""
    return {str(f.relative_to(paths.root)): f.read_bytes() for f in sorted(paths.root.rglob("*")) if f.is_file()}


@pytest.fixture
def earlier(tmp_path: Path) -> Ingested:
    """An ingest of two users that went well."""
    return ingest_log(tmp_path, line(), line(user_id="502"))


def test_an_ingest_writes_events_items_users_rejected_rows_and_a_report(earlier: Ingested) -> None:
    names = {path.name for path in earlier.paths.root.iterdir()}
    assert names == {
        "events",
        "items.parquet",
        "users.parquet",
        "promotions.parquet",
        "rejected.parquet",
        "quality.json",
    }


def test_where_every_row_is_rejected_the_counts_are_told_and_the_old_output_stays(
    tmp_path: Path, earlier: Ingested
) -> None:
    before = contents(earlier.paths)
    counts = r"negative price: 2 \(row 1 of events.csv: '-1'\), missing user_id: 1 \(row 3 of events.csv\)"
    with pytest.raises(UserError, match=f"no usable row among 3; rejected: {counts}"):
        ingest_log(tmp_path, line(price="-1"), line(price="-2"), line(user_id=""))
    assert contents(earlier.paths) == before


def test_where_every_line_is_malformed_the_counts_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no usable row among 1; rejected: malformed line: missing columns: 1"):
        ingest_log(tmp_path, "what,is,this")


@pytest.mark.parametrize("moment", ["reading events.csv", "cleaning", "items and users"])
def test_an_interrupted_ingest_leaves_the_old_output_and_runs_again(
    tmp_path: Path, earlier: Ingested, moment: str
) -> None:
    before = contents(earlier.paths)
    log = write_log(tmp_path / "events.csv", line(user_id="503"))

    def interrupt(name: str, done: int, total: int) -> None:
        if name == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(ShopLog([str(log)]), earlier.paths, UNTIL, stage=interrupt)
    assert contents(earlier.paths) == before
    assert [e["user_id"] for e in ingest_file(tmp_path, log).events()] == ["503"]


def test_what_a_killed_ingest_left_behind_is_cleared(tmp_path: Path, earlier: Ingested) -> None:
    leftover = earlier.paths.root / "ingest.tmp" / "events"
    leftover.mkdir(parents=True)
    (leftover / "part-00.parquet").write_text("half")
    assert ingest_log(tmp_path, line()).report.rows_kept == 1
    assert not leftover.exists()


def test_an_ingest_beside_another_into_the_same_folder_is_refused(tmp_path: Path, earlier: Ingested) -> None:
    refused: list[str] = []

    def ingest_beside(name: str, done: int, total: int) -> None:
        if name == "cleaning" and not refused:
            with pytest.raises(Conflict, match="data: another `shoprank ingest`, `features` or `dataset` writes"):
                ingest_log(tmp_path, line(user_id="700"))
            with pytest.raises(Conflict, match="another `shoprank ingest`, `features` or `dataset`"):
                list(write_snapshots(earlier.paths, [UNTIL]))
            refused.append(name)

    log = write_log(tmp_path / "mine.csv", line(user_id="503"))
    ingest(ShopLog([str(log)]), earlier.paths, UNTIL, stage=ingest_beside)
    assert refused
    assert {e["user_id"] for e in Ingested(earlier.paths, earlier.report).events()} == {"503"}
    assert [e["user_id"] for e in ingest_log(tmp_path, line(user_id="600")).events()] == ["600"]


def test_the_lock_of_a_killed_ingest_ends_with_it(tmp_path: Path, earlier: Ingested) -> None:
    command = [sys.executable, "-c", ENDLESS, str(tmp_path / "events.csv"), str(earlier.paths.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"running\n"
        with pytest.raises(Conflict):
            ingest_log(tmp_path, line(user_id="600"))
        other.kill()
    assert [e["user_id"] for e in ingest_log(tmp_path, line(user_id="600")).events()] == ["600"]


def test_a_new_ingest_replaces_the_old_one(tmp_path: Path, earlier: Ingested) -> None:
    assert [e["user_id"] for e in ingest_log(tmp_path, line(user_id="600")).events()] == ["600"]


def test_the_same_file_has_the_same_fingerprint_and_events(tmp_path: Path, earlier: Ingested) -> None:
    before = sorted(map(str, earlier.events()))
    again = ingest_file(tmp_path, tmp_path / "events.csv")
    assert again.report == earlier.report
    assert sorted(map(str, again.events())) == before


@pytest.mark.parametrize("change", [{"price": "1"}, {"user_session": "s2"}, {"brand": "other"}])
def test_another_event_or_item_has_another_fingerprint(
    tmp_path: Path, earlier: Ingested, change: dict[str, str]
) -> None:
    changed = ingest_log(tmp_path, line(**change), line(**{"user_id": "502", **change}))
    assert changed.report.fingerprint != earlier.report.fingerprint


def test_the_same_event_in_two_files_is_kept_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_log(tmp_path / f"{name}.csv", line(), line(user_id=name))
    paths = DataPaths(tmp_path / "data")
    report = ingest(ShopLog([str(tmp_path / "*.csv")]), paths, UNTIL)
    assert (report.rows_kept, report.rejected) == (3, {"exact duplicate": 1})
    (row,) = rows(paths.rejected)
    assert (row["source"], row["row"]) == (str(tmp_path / "b.csv"), 1)


def test_malformed_lines_are_kept_file_by_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_log(tmp_path / f"{name}.csv", line(user_id=name), f"only {name}")
    paths = DataPaths(tmp_path / "data")
    ingest(ShopLog([str(tmp_path / "*.csv")]), paths, UNTIL)
    assert sorted((Path(r["source"]).name, r["row"], r["line_text"]) for r in rows(paths.rejected)) == [
        ("a.csv", 3, "only a"),
        ("b.csv", 3, "only b"),
    ]


def test_the_report_tells_ranges_and_null_rates_of_the_kept_rows(tmp_path: Path) -> None:
    report = ingest_log(
        tmp_path, line(price="2"), line(price="7", user_id="502", event_type="purchase"), line(price="-9")
    ).report
    assert report.ranges["price"] == [2, 7]
    assert report.ranges["event_time"] == ["2019-10-01T00:00:00", "2019-10-01T00:00:00"]
    assert (report.null_rates["price"], report.null_rates["query"]) == (0, 1)
    assert report.events_by_type == {"view": 1, "purchase": 1}
    assert (report.users, report.items) == (2, 1)


def test_the_event_range_is_read_back_from_the_report(tmp_path: Path) -> None:
    later = line(event_time="2019-11-01 00:00:00 UTC")
    ingested = ingest_log(tmp_path, line(), later)
    first, last = event_range(ingested.paths)
    assert (first.isoformat(), last.isoformat()) == ("2019-10-01T00:00:00", "2019-11-01T00:00:00")


def test_the_event_range_before_any_ingest_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"quality\.json: no such file; run `shoprank ingest` first"):
        event_range(DataPaths(tmp_path))


def test_a_later_event_than_now_is_future_by_default(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events.csv", line(), line(event_time="2999-01-01 00:00:00 UTC"))
    assert ingest(ShopLog([str(log)]), DataPaths(tmp_path / "data")).rejected == {"future time": 1}


@pytest.mark.parametrize("size", ["lots", "0", "1", "-1", " -500MB"])
def test_a_memory_limit_that_is_no_size_is_an_error(tmp_path: Path, size: str) -> None:
    source = ShopLog([str(write_log(tmp_path / "events.csv", line()))])
    with pytest.raises(UserError, match=f"memory limit '{size}': not a size such as 500MB"):
        ingest(source, DataPaths(tmp_path / "data"), memory_limit=size)


def test_a_memory_limit_that_is_too_small_is_an_error(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events.csv", *(line(user_id=str(n)) for n in range(1_000)))
    with pytest.raises(UserError, match="memory limit '1MB': too small for these events"):
        ingest(ShopLog([str(log)]), DataPaths(tmp_path / "data"), UNTIL, "1MB")


def test_a_data_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events.csv", line())
    with pytest.raises(UserError, match=r"events\.csv: cannot be written: File exists"):
        ingest(ShopLog([str(log)]), DataPaths(log))
