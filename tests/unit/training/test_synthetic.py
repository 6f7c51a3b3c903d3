"""Synthetic events are reproducible, and as dirty as asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shop_log import HEADER, ingest_file
from training.synthetic import Shop, write_shop_log

SHOP = Shop(users=200, items=50, days=30)


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shop_log(tmp_path / name, 2_000, SHOP, seed=7, dirty=0.1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_another_seed_writes_another_file(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_shop_log(tmp_path / str(seed), 500, SHOP, seed=seed)
    assert (tmp_path / "1").read_bytes() != (tmp_path / "2").read_bytes()


def test_as_many_events_are_written_as_asked_and_told(tmp_path: Path) -> None:
    told: list[int] = []
    assert write_shop_log(tmp_path / "log.csv", 400_000, SHOP, progress=told.append) == 400_000
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert (len(lines), lines.count(HEADER)) == (400_001, 1)
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == 400_000


@pytest.mark.parametrize("events", [2_000, 300_000])
def test_the_events_fill_the_days_asked_for(tmp_path: Path, events: int) -> None:
    write_shop_log(tmp_path / "log.csv", events, SHOP)
    days = {line[:10] for line in (tmp_path / "log.csv").read_text().splitlines()[1:]}
    assert 28 <= len(days) <= 31


def test_clean_events_lose_nothing_but_duplicates(tmp_path: Path) -> None:
    write_shop_log(tmp_path / "log.csv", 3_000, SHOP)
    report = ingest_file(tmp_path, tmp_path / "log.csv").report
    assert set(report.rejected) <= {"exact duplicate"}
    assert report.rows_kept > 0.99 * report.rows_read
    assert set(report.events_by_type) == {"view", "cart", "purchase"}


def test_the_dirty_share_is_rejected_with_its_reasons(tmp_path: Path) -> None:
    write_shop_log(tmp_path / "log.csv", 20_000, SHOP, dirty=0.1)
    report = ingest_file(tmp_path, tmp_path / "log.csv").report
    assert set(report.rejected) == {
        "missing user_id",
        "negative price",
        "price is not a number",
        "unparsable time",
        "exact duplicate",
    }
    assert sum(report.rejected.values()) / report.rows_read == pytest.approx(0.1, abs=0.02)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("old")

    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shop_log(log, 100, SHOP, progress=interrupt)
    assert log.read_text() == "old"
