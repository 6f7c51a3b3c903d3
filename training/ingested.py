"""The ingested events: the table of them, where all are there, and their times."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from feature_repo.files import RUN_INGEST, rows_of
from feature_repo.paths import DataPaths, pattern
from shoprank.errors import Conflict, UserError
from training.sql import parquet

PARTS = "*.parquet"
T = TypeVar("T")


def event_range(paths: DataPaths) -> tuple[datetime, datetime]:
    """Times (naive UTC) of the first and last ingested event. Raises UserError where there are none to be read."""
    return _reported(paths, lambda f: (datetime.fromisoformat(f["first"]), datetime.fromisoformat(f["last"])))


def events_kept(paths: DataPaths) -> int:
    """How many events were kept. Raises UserError where that cannot be read."""
    return _reported(paths, lambda fields: int(fields["rows_kept"]))


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
    kept = events_kept(paths)
    rows = sum(map(rows_of, sorted(paths.events.glob(PARTS))))
    if rows != kept:
        raise UserError(f"{paths.events}: {rows:,} events are there, and {kept:,} were kept; {RUN_INGEST}")


@contextmanager
def unchanged(paths: DataPaths) -> Iterator[None]:
    """Enclose what reads several of the ingested files. Raises Conflict where others were ingested meanwhile."""
    before = _report(paths)
    yield
    if _report(paths) != before:
        raise Conflict(f"{paths.root}: other events were ingested while these were read; run this again")


def _report(paths: DataPaths) -> bytes | None:
    try:
        return paths.quality.read_bytes()
    except OSError:
        return None  # they are being put in place


def _reported(paths: DataPaths, of: Callable[[dict[str, Any]], T]) -> T:
    """Something that the quality report says."""
    if not paths.quality.is_file():
        raise UserError(f"{paths.quality}: no such file; {RUN_INGEST}")
    try:
        return of(json.loads(paths.quality.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{paths.quality}: is damaged; {RUN_INGEST}") from error
