"""The ingested events: the table of them, where all are there, and their times."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.paths import DataPaths, pattern
from shoprank.errors import UserError
from training.sql import parquet

PARTS = "*.parquet"
AGAIN = "run `shoprank ingest` first"
T = TypeVar("T")


def event_range(paths: DataPaths) -> tuple[datetime, datetime]:
    """Times (naive UTC) of the first and last ingested event. Raises UserError where there are none to be read."""
    return _reported(paths, lambda f: (datetime.fromisoformat(f["first"]), datetime.fromisoformat(f["last"])))


def events_table(paths: DataPaths) -> str:
    """The table of all events, in SQL. Raises as `require_events`."""
    require_events(paths)
    return parquet(paths.events, PARTS)


def events_pattern(paths: DataPaths) -> str:
    """The files of all events, for a reader of patterns. Raises as `require_events`."""
    require_events(paths)
    return pattern(paths.events, PARTS)


def require_events(paths: DataPaths) -> None:
    """Raise UserError where nothing was ingested, or a file of it is damaged or missing, by the files' footers: fewer
    events are there than were kept."""
    kept = _reported(paths, lambda fields: int(fields["rows_kept"]))
    rows = sum(map(_rows, sorted(paths.events.glob(PARTS))))
    if rows != kept:
        raise UserError(f"{paths.events}: {rows:,} events are there, and {kept:,} were kept; {AGAIN}")


def _reported(paths: DataPaths, of: Callable[[dict[str, Any]], T]) -> T:
    """Something that the quality report says."""
    if not paths.quality.is_file():
        raise UserError(f"{paths.quality}: no such file; {AGAIN}")
    try:
        return of(json.loads(paths.quality.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{paths.quality}: is damaged; {AGAIN}") from error


def _rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: is damaged: {str(error).rstrip('.')}; {AGAIN}") from error
