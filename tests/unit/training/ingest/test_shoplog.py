"""The shop log: its event types, and what it tells of items."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.schema import key_of
from shoprank.errors import UserError
from tests.shop_log import GOOD, Ingested, ingest_file, ingest_log, line, rows


def test_remove_from_cart_becomes_remove(tmp_path: Path) -> None:
    events = ingest_log(
        tmp_path,
        line(event_type="remove_from_cart"),
        line(event_type="cart"),
        line(event_type=" REMOVE_from_cart", user_id="502"),
    ).events()
    assert sorted(e["event_type"] for e in events) == ["cart", "remove", "remove"]


def test_a_row_becomes_a_canonical_event(tmp_path: Path) -> None:
    (event,) = ingest_log(tmp_path, line(event_type="purchase")).events()
    assert (event["user_id"], event["item_id"], event["price"], event["session_id"]) == ("501", "1001", 9.5, "s1")
    assert (event["quantity"], event["discount"], event["channel"], event["query"]) == (None, None, None, None)


def test_items_take_their_attributes_from_their_events(tmp_path: Path) -> None:
    (item,) = rows(ingest_log(tmp_path, line(brand=""), line(user_id="502")).paths.items)
    assert item == {
        "item_id": "1001",
        "item_key": key_of("1001"),
        "name": "acme toys 1001",
        "department": "kids",
        "category": "kids.toys",
        "subcategory": "2001",
        "brand": "acme",
        "manufacturer": None,
        "size": None,
    }


@pytest.mark.parametrize("empty", ["", '""', " "])
def test_an_item_without_a_category_code_is_of_its_category_id(tmp_path: Path, empty: str) -> None:
    (item,) = rows(ingest_log(tmp_path, line(category_code=empty)).paths.items)
    assert (item["department"], item["category"]) == (None, "2001")


def test_an_item_with_and_without_blanks_around_its_id_is_one(tmp_path: Path) -> None:
    items = rows(ingest_log(tmp_path, line(), line(product_id=" 1001", user_id="502")).paths.items)
    assert [item["item_id"] for item in items] == ["1001"]


def test_every_user_seen_is_a_user(tmp_path: Path) -> None:
    users = rows(ingest_log(tmp_path, line(), line(user_id="502"), line(user_id="503", price="-1")).paths.users)
    assert [user["user_id"] for user in users] == ["501", "502"]


def ingest_typed(root: Path, **columns: pa.Array) -> Ingested:
    """Ingest a Parquet file of two usable rows, with these columns changed."""
    table = {name: [value, value] for name, value in GOOD.items()} | {"user_id": ["501", "502"], **columns}
    pq.write_table(pa.table(table), root / "events.parquet")
    return ingest_file(root, root / "events.parquet")


def test_ids_that_are_whole_numbers_are_their_text(tmp_path: Path) -> None:
    ids = {name: pa.array([2001, 2002]) for name in ("product_id", "category_id", "user_id", "user_session")}
    ingested = ingest_typed(tmp_path, **ids)
    assert sorted((e["user_id"], e["item_id"], e["session_id"]) for e in ingested.events()) == [
        ("2001", "2001", "2001"),
        ("2002", "2002", "2002"),
    ]
    assert [(i["item_id"], i["subcategory"]) for i in rows(ingested.paths.items)] == [
        ("2001", "2001"),
        ("2002", "2002"),
    ]


def test_whole_ids_in_a_column_of_floats_have_no_decimals(tmp_path: Path) -> None:
    ids = {name: pa.array([2001.0, None]) for name in ("product_id", "category_id")}
    ingested = ingest_typed(tmp_path, **ids)
    assert ingested.report.rejected == {"missing item_id": 1}
    assert [event["item_id"] for event in ingested.events()] == ["2001"]
    assert [(i["item_id"], i["subcategory"]) for i in rows(ingested.paths.items)] == [("2001", "2001")]


def test_an_event_type_that_is_no_text_costs_its_row(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no usable row among 2; rejected: unknown event type: 2"):
        ingest_typed(tmp_path, event_type=pa.array([1, 2]))


def test_a_time_before_all_that_can_be_written_costs_its_row(tmp_path: Path) -> None:
    times = pa.array([-(2**63), 1_569_888_000_000_000]).cast(pa.timestamp("us"))
    assert ingest_typed(tmp_path, event_time=times).report.rejected == {"unparsable time": 1}


def test_a_column_of_times_that_cannot_be_read_is_an_error_of_its_file(tmp_path: Path) -> None:
    times = pa.array([-(2**63), 0]).cast(pa.timestamp("ms"))
    with pytest.raises(UserError, match=r"events\.parquet: cannot be read: .*Could not convert Timestamp"):
        ingest_typed(tmp_path, event_time=times)
