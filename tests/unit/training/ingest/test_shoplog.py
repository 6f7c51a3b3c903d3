"""The shop log: its event types, and what it tells of items."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.schema import key_of
from tests.shop_log import ingest_log, line, rows


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
