"""Small shop-log files and what an ingest makes of them, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from feature_repo.paths import DataPaths
from training.ingest import QualityReport, ingest
from training.ingest.shoplog import COLUMNS, ShopLog

HEADER = ",".join(COLUMNS)
UNTIL = datetime(2020, 1, 1)
GOOD = {
    "event_time": "2019-10-01 00:00:00 UTC",
    "event_type": "view",
    "product_id": "1001",
    "category_id": "2001",
    "category_code": "kids.toys",
    "brand": "acme",
    "price": "9.5",
    "user_id": "501",
    "user_session": "s1",
}


def line(**changes: str) -> str:
    """A usable line of a shop log, with these columns changed."""
    return ",".join({**GOOD, **changes}[name] for name in COLUMNS)


def write_log(path: Path, *lines: str) -> Path:
    """A shop log of these lines."""
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


@dataclass(frozen=True)
class Ingested:
    """What an ingest left behind."""

    paths: DataPaths
    report: QualityReport

    def events(self) -> list[dict[str, Any]]:
        """The clean events."""
        return rows(self.paths.events)

    def rejected(self) -> list[dict[str, Any]]:
        """The rejected rows."""
        return rows(self.paths.rejected)


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file or folder."""
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def ingest_log(root: Path, *lines: str) -> Ingested:
    """Write a shop log of these lines to `root/events.csv`, and ingest it into `root/data`."""
    return ingest_file(root, write_log(root / "events.csv", *lines))


def ingest_file(root: Path, log: Path) -> Ingested:
    """Ingest a shop log into `root/data`."""
    paths = DataPaths(root / "data")
    return Ingested(paths, ingest(ShopLog([str(log)]), paths, UNTIL, "500MB"))
