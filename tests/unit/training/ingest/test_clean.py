"""Every row is a clean event or a rejected row with its reason; none is lost, none is both."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.schema import key_of
from tests.shop_log import GOOD, ingest_log, line
from training.ingest.clean import reasons

SPOILED = {
    "missing user_id": {"user_id": ""},
    "missing item_id": {"product_id": "  "},
    "missing event_time": {"event_time": ""},
    "missing event_type": {"event_type": ""},
    "unparsable time": {"event_time": "yesterday"},
    "future time": {"event_time": "2020-01-01 00:00:01 UTC"},
    "unknown event type": {"event_type": "dance"},
    "price is not a number": {"price": "cheap"},
    "negative price": {"price": "-1.5"},
    "price is too large": {"price": "1e39"},
}


@pytest.mark.parametrize(("reason", "spoiled"), [*SPOILED.items(), ("missing user_id", {"user_id": " nan "})])
def test_a_spoiled_row_is_rejected_with_its_reason_and_its_raw_values(
    tmp_path: Path, reason: str, spoiled: dict[str, str]
) -> None:
    ingested = ingest_log(tmp_path, line(), line(**spoiled))
    (row,) = ingested.rejected()
    raw = {**GOOD, **spoiled}
    assert row["reason"] == reason
    assert row["source"] == str(tmp_path / "events.csv")
    assert row["row"] == 2
    for column, given_as in (("event_time", "event_time"), ("item_id", "product_id"), ("price", "price")):
        assert (row[column] or "") == raw[given_as], column
    assert ingested.report.rejected == {reason: 1}
    assert ingested.report.rows_kept == 1


@pytest.mark.parametrize("price", ["nan", "inf", "-inf", "1,5", "0x10", "1e999"])
def test_a_price_that_is_no_finite_number_is_rejected(tmp_path: Path, price: str) -> None:
    (row,) = ingest_log(tmp_path, line(), line(price=f'"{price}"')).rejected()
    assert (row["reason"], row["price"]) == ("price is not a number", price)


@pytest.mark.parametrize("time", ["2019-02-30 00:00:00 UTC", "1569888000", "31/12/2019", "1969-12-31 23:00:00 UTC"])
def test_a_time_that_is_none_is_rejected(tmp_path: Path, time: str) -> None:
    (row,) = ingest_log(tmp_path, line(), line(event_time=time)).rejected()
    assert (row["reason"], row["event_time"]) == ("unparsable time", time)


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        ("2019-10-01 12:00:00 UTC", datetime(2019, 10, 1, 12)),
        ("2019-10-01T12:00:00Z", datetime(2019, 10, 1, 12)),
        ("2019-10-01 12:00:00+02:00", datetime(2019, 10, 1, 10)),
        ("2019-10-01 12:00:00.25", datetime(2019, 10, 1, 12, 0, 0, 250_000)),
        ("2019-10-01", datetime(2019, 10, 1)),
    ],
)
def test_times_become_utc_and_are_utc_where_they_do_not_say(tmp_path: Path, time: str, utc: datetime) -> None:
    (event,) = ingest_log(tmp_path, line(event_time=time)).events()
    assert event["event_time"] == utc


def test_the_first_reason_that_holds_is_the_rows(tmp_path: Path) -> None:
    (row,) = ingest_log(tmp_path, line(), line(event_time="2030-01-01", event_type="dance", price="-1")).rejected()
    assert row["reason"] == "future time"


def test_a_missing_price_is_no_reason(tmp_path: Path) -> None:
    (event,) = ingest_log(tmp_path, line(price="")).events()
    assert event["price"] is None


def test_an_exact_duplicate_is_kept_once(tmp_path: Path) -> None:
    ingested = ingest_log(tmp_path, line(), line(price="8"), line(), line())
    assert sorted(e["price"] for e in ingested.events()) == [8, 9.5]
    assert [(row["reason"], row["row"]) for row in ingested.rejected()] == [
        ("exact duplicate", 3),
        ("exact duplicate", 4),
    ]


def test_rows_that_differ_in_blanks_and_case_alone_are_duplicates(tmp_path: Path) -> None:
    ingested = ingest_log(tmp_path, line(), line(user_id=" 501 ", event_type="VIEW", price="9.50"))
    assert ingested.report.rejected == {"exact duplicate": 1}
    (event,) = ingested.events()
    assert (event["user_id"], event["event_type"]) == ("501", "view")


def test_the_item_key_is_the_one_that_serving_computes(tmp_path: Path) -> None:
    (event,) = ingest_log(tmp_path, line(product_id=" 1001")).events()
    assert event["item_key"] == key_of("1001")


def test_every_reason_is_one_of_those_the_documentation_lists() -> None:
    documented = (Path(__file__).parents[4] / "docs" / "data.md").read_text()
    for reason in reasons(datetime(2020, 1, 1)):
        assert f"`{reason}`" in documented, reason


ROWS = st.lists(
    st.one_of(
        st.builds(lambda user: line(user_id=str(user)), st.integers(1, 20)),
        st.sampled_from([line(**spoiled) for spoiled in SPOILED.values()]),
        st.sampled_from([line() + ",more", "too,few", line(brand='"open'), line(brand='"a"b'), line(user_id="é")]),
    ),
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_every_line_is_kept_or_rejected(lines: list[str]) -> None:
    with TemporaryDirectory() as folder:
        ingested = ingest_log(Path(folder), line(user_id="first"), *lines)
        report, rejected = ingested.report, ingested.rejected()
        assert report.rows_read == len(lines) + 1
        assert report.rows_kept == len(ingested.events())
        assert report.rows_kept + len(rejected) == report.rows_read
        assert report.rejected == Counter(row["reason"] for row in rejected)
