"""The packaged retail data goes through whole."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.paths import DataPaths
from tests.shop_log import rows
from training.ingest import ingest
from training.ingest.completejourney import CompleteJourney


def test_every_transaction_is_a_purchase_that_is_kept_or_rejected(tmp_path: Path) -> None:
    paths = DataPaths(tmp_path)
    report = ingest(CompleteJourney(), paths, datetime(2018, 1, 2))
    assert report.rows_read == 1_469_307
    assert report.rows_kept > 0.99 * report.rows_read
    assert report.rows_kept + sum(report.rejected.values()) == report.rows_read
    assert (report.users, list(report.events_by_type)) == (2_469, ["purchase"])
    assert len(rows(paths.items)) >= 92_331
    assert sum(user["age"] is not None for user in rows(paths.users)) == 801
    plan = pq.read_table(paths.promotions)
    assert pc.min_max(plan["starts_at"]).as_py() == {"min": datetime(2016, 12, 26), "max": datetime(2017, 12, 25)}
    assert pc.max(plan["mailer_share"]).as_py() == 1
    assert pc.all(pc.less_equal(plan["front_share"], plan["mailer_share"])).as_py()
