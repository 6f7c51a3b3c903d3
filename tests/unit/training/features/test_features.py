"""Features against values computed by hand and against plain Python over the same events."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.paths import DataPaths, write_json
from feature_repo.schema import key_of
from feature_repo.snapshots import snapshot_path
from shoprank.errors import UserError
from tests.conftest import Shop
from tests.world import event, events, write_world
from training.features.snapshots import VIEWS, write_snapshots

CUTOFF = datetime(2024, 5, 6)
Row = dict[str, Any]


def snapshots(root: Path, rows: list[Row], cutoff: datetime = CUTOFF) -> dict[str, dict[str, Row]]:
    """Each view's rows by entity id."""
    paths = write_world(root, rows)
    for _ in write_snapshots(paths, [cutoff], memory_limit="500MB"):
        pass
    tables = {v.name: pq.read_table(snapshot_path(paths, v.name, cutoff)).to_pylist() for v in VIEWS}
    return {name: {row.get("user_id") or row["item_id"]: row for row in rows} for name, rows in tables.items()}


def write_plan(root: Path, *promotions: tuple[str, datetime, float, float, float]) -> None:
    """A plan: item, first day of a week, shares of shops that display, advertise, and have it on the front page."""
    names = ("display_share", "mailer_share", "front_share")
    rows = [
        {
            "item_id": item,
            "item_key": key_of(item),
            "starts_at": start,
            "ends_at": start + timedelta(days=7),
            **dict(zip(names, shares, strict=True)),
        }
        for item, start, *shares in promotions
    ]
    pq.write_table(pa.Table.from_pylist(rows), DataPaths(root).promotions)


def test_a_users_orders_are_counted_by_window(tmp_path: Path) -> None:
    days = (1, 10, 50, 100)
    rows = [event("u1", "i1", CUTOFF - timedelta(days=d), session=f"s{d}") for d in days]
    user = snapshots(tmp_path, rows)["user_features"]["u1"]
    assert [user[f"user_orders{w}"] for w in ("", "_7d", "_28d", "_84d")] == [4, 1, 2, 3]
    assert user["user_order_gap_days"] == pytest.approx(33.0)
    assert user["user_repeat_share"] == pytest.approx(0.75)
    assert user["user_spend"] == pytest.approx(8.0)


def test_one_order_has_no_gap(tmp_path: Path) -> None:
    user = snapshots(tmp_path, [event("u1", "i1", CUTOFF - timedelta(days=1))])["user_features"]["u1"]
    assert user["user_order_gap_days"] is None


def test_views_count_as_interest_and_not_as_purchases(tmp_path: Path) -> None:
    seen = CUTOFF - timedelta(days=14)
    tables = snapshots(tmp_path, [event("u1", "i1", seen, "view")])
    history = tables["user_history"]["u1"]
    assert history["user_item_keys"] == [key_of("i1")]
    assert history["user_item_purchases"] == [0.0]
    assert history["user_item_last_at"] == [0]
    assert history["user_item_interest"] == pytest.approx([0.5])
    assert tables["user_features"]["u1"]["user_views_28d"] == 1
    assert tables["item_features"]["i1"]["item_purchases"] == 0


def test_history_keys_ascend_and_every_array_is_as_long(shop: Shop) -> None:
    path = snapshot_path(shop.paths, "user_history", shop.schedule.test)
    for row in pq.read_table(path).to_pylist():
        for level in ("item", "category", "subcategory"):
            arrays = [v for k, v in row.items() if k.startswith(f"user_{level}_")]
            assert len({len(a) for a in arrays}) == 1
            keys = row[f"user_{level}_keys"]
            assert keys == sorted(set(keys))


def test_without_a_plan_promotions_are_not_known(tmp_path: Path) -> None:
    tables = snapshots(tmp_path, [event("u1", "i1", CUTOFF - timedelta(days=1))])
    assert tables["item_features"]["i1"]["item_mailer_share"] is None
    assert tables["user_features"]["u1"]["user_mailed_purchase_share"] is None


def test_the_plan_of_the_week_to_come_and_of_the_past_is_seen_and_no_more(tmp_path: Path) -> None:
    week = timedelta(days=7)
    write_plan(
        tmp_path,
        ("i1", CUTOFF, 0.2, 1.0, 0.6),
        ("i2", CUTOFF - week, 0.0, 0.75, 0.0),
        ("i2", CUTOFF + week, 1.0, 1.0, 1.0),
    )
    bought = [CUTOFF - timedelta(days=d) for d in (1, 10)]
    rows = [event("u1", item, at, session="s") for item in ("i1", "i2") for at in bought]
    tables = snapshots(tmp_path, rows)
    items = tables["item_features"]
    planned = [[items[i][f"item_{what}_share"] for what in ("display", "mailer", "front")] for i in ("i1", "i2", "i3")]
    assert planned == [pytest.approx([0.2, 1.0, 0.6]), [0, 0, 0], [0, 0, 0]]
    assert [items[i]["item_mailer_share_before"] for i in ("i1", "i2")] == [0, 0.75]
    assert [items[i]["item_mailed_purchase_share"] for i in ("i1", "i2", "i3")] == [0, 0.5, None]
    assert tables["user_features"]["u1"]["user_mailed_purchase_share"] == 0.25


def test_a_week_that_is_not_planned_yet_is_not_known(tmp_path: Path) -> None:
    write_plan(tmp_path, ("i1", CUTOFF - timedelta(days=7), 0.0, 1.0, 0.0))
    item = snapshots(tmp_path, [event("u1", "i1", CUTOFF - timedelta(days=1))])["item_features"]["i1"]
    assert (item["item_mailer_share"], item["item_mailer_share_before"]) == (None, 1)


def test_items_never_sold_have_a_row(tmp_path: Path) -> None:
    items = snapshots(tmp_path, [event("u1", "i1", CUTOFF - timedelta(days=1))])["item_features"]
    assert len(items) == 150
    assert items["i2"]["item_purchases"] == 0
    assert items["i2"]["item_price"] is None
    assert items["i2"]["item_brand_key"] == key_of("Other")
    assert items["i0"]["item_category_key"] == 0


def test_item_features_match_plain_python(tmp_path: Path) -> None:
    rows = events()
    got = snapshots(tmp_path, rows)["item_features"]
    past = [r for r in rows if r["event_time"] < CUTOFF and r["event_type"] == "purchase"]
    for item in ("i0", "i3", "i17"):
        mine = [r for r in past if r["item_id"] == item]
        recent = [r for r in mine if r["event_time"] >= CUTOFF - timedelta(days=28)]
        by_user: dict[str, list[datetime]] = {}
        for r in mine:
            by_user.setdefault(r["user_id"], []).append(r["event_time"])
        again = [ts for ts in by_user.values() if len(ts) > 1]
        gap = sum((max(t) - min(t)).total_seconds() for t in again) / 86400 / sum(len(t) - 1 for t in again)
        assert got[item]["item_purchases"] == len(mine)
        assert got[item]["item_purchases_28d"] == len(recent)
        assert got[item]["item_buyers"] == len(by_user)
        assert got[item]["item_repeat_rate"] == pytest.approx(len(again) / len(by_user))
        assert got[item]["item_gap_days"] == pytest.approx(gap, rel=1e-5)


def test_decayed_counts_match_plain_python(tmp_path: Path) -> None:
    rows = events()
    history = snapshots(tmp_path, rows)["user_history"]["u7"]
    key = history["user_item_keys"][0]
    ages = [
        (CUTOFF - r["event_time"]).total_seconds() / 86400
        for r in rows
        if r["user_id"] == "u7" and r["item_key"] == key and r["event_type"] == "purchase" and r["event_time"] < CUTOFF
    ]
    assert history["user_item_recent"][0] == pytest.approx(math.fsum(0.5 ** (a / 14) for a in ages), rel=1e-4)
    assert history["user_item_steady"][0] == pytest.approx(math.fsum(0.5 ** (a / 56) for a in ages), rel=1e-4)


def test_snapshots_of_other_events_do_not_stay(tmp_path: Path) -> None:
    rows, later = events(), CUTOFF + timedelta(days=3)
    snapshots(tmp_path, rows, later)
    paths = DataPaths(tmp_path)
    write_json(paths.quality, json.loads(paths.quality.read_text()) | {"fingerprint": "of another ingest"})
    for _ in write_snapshots(paths, [CUTOFF], memory_limit="500MB"):
        pass
    assert not snapshot_path(paths, "user_features", later).exists()
    assert snapshot_path(paths, "user_features", CUTOFF).is_file()


def test_snapshots_of_other_cutoffs_do_not_stay(tmp_path: Path) -> None:
    rows, later = events(), CUTOFF + timedelta(days=3)
    snapshots(tmp_path, rows, later)
    snapshots(tmp_path, rows)
    assert [file.name for file in (tmp_path / "features" / "user_features").iterdir()] == ["2024-05-06T000000.parquet"]


def test_a_snapshot_is_rewritten_only_when_the_events_changed(tmp_path: Path) -> None:
    rows = events()
    paths = write_world(tmp_path, rows)
    (first, *_) = list(write_snapshots(paths, [CUTOFF]))
    written = first.stat().st_mtime_ns
    list(write_snapshots(paths, [CUTOFF]))
    assert first.stat().st_mtime_ns == written
    write_world(tmp_path, rows[:-5])
    list(write_snapshots(paths, [CUTOFF]))
    assert first.stat().st_mtime_ns != written


def test_features_before_ingest_are_refused(tmp_path: Path) -> None:
    paths = write_world(tmp_path, [])
    paths.items.unlink()
    with pytest.raises(UserError, match=r"items\.parquet.*shoprank ingest"):
        list(write_snapshots(paths, [CUTOFF]))
