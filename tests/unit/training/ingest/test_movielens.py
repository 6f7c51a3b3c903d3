"""Films liked are purchases; files that are not MovieLens's are refused."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from feature_repo.paths import DataPaths
from shoprank.errors import UserError
from tests.shop_log import rows
from training.ingest import ingest
from training.ingest.movielens import FILES, MovieLens

LINES = {
    "inter": ["7\t1\t4\t881250949", "7\t2\t3\t881250950", "8\t1\t5\t881250951"],
    "item": ['1\tSaid "So", Twice\t1995\tComedy Children\'s', "2\tOther\t1996\tDrama"],
    "user": ["7\t24\tM\ttechnician\t85711", "8\t70\tF\tother\t94043"],
}


def write_films(folder: Path) -> Path:
    for ending, lines in LINES.items():
        (folder / f"ml-100k.{ending}").write_text("\n".join(["\t".join(FILES[ending]), *lines, ""]))
    return folder


def test_ratings_of_4_and_more_are_purchases_at_their_time(tmp_path: Path) -> None:
    paths = DataPaths(tmp_path / "data")
    report = ingest(MovieLens(write_films(tmp_path)), paths)
    assert report.events_by_type == {"purchase": 2, "rating": 1}
    events = [event for file in paths.events.glob("*.parquet") for event in rows(file)]
    assert min(event["event_time"] for event in events).replace(tzinfo=None) == datetime(1997, 12, 4, 15, 55, 49)
    films = {item["item_id"]: (item["name"], item["category"], item["subcategory"]) for item in rows(paths.items)}
    assert films["1"] == ('Said "So", Twice (1995)', "Comedy", "Comedy Children's")
    assert {user["user_id"]: user["age"] for user in rows(paths.users)} == {"7": "19-24", "8": "65+"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7\t1\t4\tsoon", "unparsable time"),
        ("7\t1\t4\t9223372036854775807", "unparsable time"),
        ("7\t1\tgood\t881250949", "unknown event type"),
        ("7\t1\t\t881250949", "missing event_type"),
    ],
)
def test_a_rating_without_a_number_or_a_time_is_rejected(tmp_path: Path, line: str, reason: str) -> None:
    inter = write_films(tmp_path) / "ml-100k.inter"
    inter.write_text(f"{inter.read_text()}{line}\n")
    report = ingest(MovieLens(tmp_path), DataPaths(tmp_path / "data"))
    assert (report.rows_kept, report.rejected) == (3, {reason: 1})


def test_a_missing_file_and_other_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ml-100k\.inter: no such file"):
        MovieLens(tmp_path)
    write_films(tmp_path)
    (tmp_path / "ml-100k.user").write_text("user\tage\n")
    with pytest.raises(UserError, match=r"ml-100k\.user, line 1: the columns are user, age"):
        MovieLens(tmp_path)
