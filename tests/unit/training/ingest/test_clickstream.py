"""The clickstream is the same on every run and leads from views to purchases."""

from __future__ import annotations

from pathlib import Path

from feature_repo.paths import DataPaths
from training.ingest import ingest
from training.ingest.clickstream import Clickstream
from training.synthetic import Shop


def test_views_become_carts_and_carts_purchases_the_same_twice(tmp_path: Path) -> None:
    first, second = (ingest(Clickstream(3_000, Shop(50, 40, 60)), DataPaths(tmp_path / name)) for name in ("a", "b"))
    counts = first.events_by_type
    assert counts["view"] > counts["cart"] > counts["purchase"] > 0
    assert first.rows_kept == 3_000
    assert first.events_by_type == second.events_by_type
    assert first.ranges == second.ranges
