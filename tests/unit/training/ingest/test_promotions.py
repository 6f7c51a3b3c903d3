"""The plan of promotions: read beside the events, and every mistake in it is named."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from feature_repo.paths import DataPaths
from feature_repo.schema import key_of
from shoprank.errors import UserError
from tests.shop_log import UNTIL, Ingested, ingest_log, line, rows
from training.ingest import ingest
from training.ingest.table import MappedTable

MAP = """
[columns]
event_time = "at"
user_id = "who"
item_id = "sku"
[defaults]
event_type = "purchase"
[promotions]
file = "plan.csv"
columns = { item_id = "sku", starts_at = "from", ends_at = "to", mailer_share = "ad" }
"""
HEADER = "sku,from,to,ad\n"


def ingest_plan(root: Path, plan: str) -> Ingested:
    """Ingest one event beside this plan."""
    (root / "events.csv").write_text("at,who,sku\n2019-10-01,7,1\n")
    (root / "plan.csv").write_text(plan)
    (root / "map.toml").write_text(MAP)
    paths = DataPaths(root / "data")
    return Ingested(paths, ingest(MappedTable([str(root / "events.csv")], root / "map.toml"), paths, UNTIL, "500MB"))


def test_a_plan_is_typed_and_its_missing_shares_are_0(tmp_path: Path) -> None:
    plan = HEADER + " 1 ,2019-10-07,2019-10-14,0.75\n2,2019-10-14 06:00:00,2019-10-21,\n"
    first, second = rows(ingest_plan(tmp_path, plan).paths.promotions)
    assert first == {
        "item_id": "1",
        "item_key": key_of("1"),
        "starts_at": datetime(2019, 10, 7),
        "ends_at": datetime(2019, 10, 14),
        "display_share": 0.0,
        "mailer_share": 0.75,
        "front_share": 0.0,
    }
    assert (second["starts_at"], second["mailer_share"]) == (datetime(2019, 10, 14, 6), 0.0)


def test_a_span_is_utc_whatever_its_zone(tmp_path: Path) -> None:
    plan = HEADER + "1,2019-10-07 00:00:00+05:00,2019-10-14T00:00:00Z,1\n"
    (row,) = rows(ingest_plan(tmp_path, plan).paths.promotions)
    assert (row["starts_at"], row["ends_at"]) == (datetime(2019, 10, 6, 19), datetime(2019, 10, 14))


def test_of_several_rows_for_a_span_the_largest_share_counts(tmp_path: Path) -> None:
    plan = HEADER + "1,2019-10-07,2019-10-14,0.25\n1,2019-10-07,2019-10-14,0.5\n"
    (row,) = rows(ingest_plan(tmp_path, plan).paths.promotions)
    assert row["mailer_share"] == 0.5


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (",2019-10-07,2019-10-14,0.5", "starts_at '2019-10-07'"),
        ("1,soon,2019-10-14,0.5", "starts_at 'soon'"),
        ("1,-infinity,2019-10-14,0.5", "starts_at '-infinity'"),
        ("1,2019-10-14,2019-10-14,0.5", "ends_at '2019-10-14'"),
        ("1,2019-10-07,2019-10-14,1.5", "mailer_share '1.5'"),
        ("1,2019-10-07,2019-10-14,many", "mailer_share 'many'"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_is_written(tmp_path: Path, row: str, named: str) -> None:
    with pytest.raises(UserError, match=f"promotions: a row with .*{named}"):
        ingest_plan(tmp_path, HEADER + "1,2019-10-07,2019-10-14,0.5\n" + row + "\n")
    assert not (tmp_path / "data" / "events").exists()


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP.replace("plan.csv", "none.csv"))
    (tmp_path / "events.csv").write_text("at,who,sku\n2019-10-01,7,1\n")
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        ingest(
            MappedTable([str(tmp_path / "events.csv")], tmp_path / "map.toml"),
            DataPaths(tmp_path / "data"),
            UNTIL,
            "500MB",
        )


def test_a_plan_without_a_span_is_an_error_of_the_map(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP.replace('ends_at = "to", ', ""))
    with pytest.raises(UserError, match=r"promotions\.columns: nothing is mapped to ends_at"):
        MappedTable([], tmp_path / "map.toml")


def test_a_source_without_a_plan_has_a_table_without_rows(tmp_path: Path) -> None:
    assert rows(ingest_log(tmp_path, line()).paths.promotions) == []
