"""What was known at a cutoff, as a data folder of its own: for measuring what is learned from it on what came after."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import datetime
from pathlib import Path

import duckdb

from feature_repo.paths import DataPaths, write_json
from shoprank.errors import UserError
from training.ingest.quality import measure
from training.ingest.read import copying
from training.ingested import PARTS, event_range, require_events
from training.schedule import HORIZON
from training.sql import parquet

DESCRIPTION = "known.json"


def write_known(paths: DataPaths, cutoff: datetime, out: DataPaths) -> bool:
    """Write into `out`, as ingest would, the events of `paths` before `cutoff` (naive UTC), and its items and users.

    Of the plan of promotions, what begins before the week after the cutoff is over: that much is taken as known
    at it. Returns whether anything was written: what is there already is left. Raises UserError where nothing was
    ingested, or no event lies before the cutoff.
    """
    first, _ = event_range(paths)
    if first >= cutoff:
        raise UserError(f"cutoff {cutoff}: no event lies before it; the first is of {first}")
    key = _key(paths, cutoff)
    mark = out.root / DESCRIPTION
    if mark.is_file() and json.loads(mark.read_text())["key"] == key:
        return False
    require_events(paths)
    mark.unlink(missing_ok=True)
    shutil.rmtree(out.events, ignore_errors=True)
    out.events.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("set enable_progress_bar = false")
        for part in sorted(paths.events.glob(PARTS)):
            _copy_before(connection, part, "event_time", cutoff, out.events / part.name)
        if paths.promotions.is_file():
            _copy_before(connection, paths.promotions, "starts_at", cutoff + HORIZON, out.promotions)
        for name in ("items", "users"):
            shutil.copyfile(getattr(paths, name), getattr(out, name))
        _measure(connection, json.loads(paths.quality.read_text())["source"], cutoff, out)
    write_json(mark, {"key": key, "cutoff": cutoff.isoformat()})
    return True


def _copy_before(connection: duckdb.DuckDBPyConnection, path: Path, column: str, moment: datetime, out: Path) -> None:
    connection.execute(copying(f"select * from {parquet(path)} where {column} < timestamp '{moment}'", out))


def _measure(connection: duckdb.DuckDBPyConnection, source: str, cutoff: datetime, out: DataPaths) -> None:
    events = parquet(out.events, "*.parquet")
    ((count,),) = connection.execute(f"select count(*) from {events}").fetchall()
    tables = [parquet(path) for path in (out.items, out.users)]
    report = measure(connection, events, tables, source, [f"events before {cutoff}"], int(count), {})
    write_json(out.quality, report.to_dict())


def _key(paths: DataPaths, cutoff: datetime) -> str:
    """Of what the folder is made: the events, items and users (by their fingerprint), the plan, and the cutoff."""
    planned = paths.promotions.read_bytes() if paths.promotions.is_file() else b""
    return hashlib.sha256(paths.quality.read_bytes() + planned + cutoff.isoformat().encode()).hexdigest()
