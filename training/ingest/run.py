"""Runs an ingest: streams a source through cleaning into Parquet, in two bounded passes.

The first pass reads each file once and writes every row, typed and with its reason, into buckets by user. The second
takes one bucket at a time, finds exact duplicates, and writes the clean events. Nothing is held but a bucket, so a
source larger than memory goes through. The result is put in place by renames at the very end.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from feature_repo.paths import DataPaths, write_json
from shoprank.errors import ShoprankError, UserError
from training.held import held
from training.ingest.clean import DUPLICATE, FIELD_OF, IDENTITY, MALFORMED
from training.ingest.promotions import write_promotions
from training.ingest.quality import QualityReport, measure
from training.ingest.read import BUCKETS, Stage, attempt, copying, read_files, reason
from training.ingest.source import ITEM_COLUMNS, ITEM_KEY, RAW_COLUMNS, USER_COLUMNS, Source
from training.memory import bounded
from training.sql import parquet

REJECTED_COLUMNS = ("reason", "source", "row", *RAW_COLUMNS, "line_text")

CANONICAL = {
    "event_id": "coalesce(nullif(trim(event_id), ''), md5(concat_ws('|', source, row)))",
    "event_time": "t_event_time",
    "user_id": "trim(user_id)",
    "item_id": "trim(item_id)",
    "item_key": ITEM_KEY.replace("item_id", "trim(item_id)"),
    "event_type": "lower(trim(event_type))",
    "quantity": "t_quantity",
    "price": "t_price",
    "discount": "t_discount",
    **{name: f"nullif(trim({name}), '')" for name in ("session_id", "channel", "query")},
}
"""Each column of a clean event, from a usable row."""


def ingest(
    source: Source,
    paths: DataPaths,
    until: datetime | None = None,
    memory_limit: str = "1GB",
    stage: Stage = lambda name, done, total: None,
) -> QualityReport:
    """Write clean events, items, users, rejected rows and the quality report below `paths`.

    until: naive UTC; a later event is rejected as of the future (default: now). What was there before stays until all
    is written. Raises UserError where the source cannot be read, no row of it is usable, or the memory limit is wrong
    or too small, and Conflict while another job writes there.
    """
    with _staged(paths.root) as staged:
        with bounded(memory_limit), _connect(staged, memory_limit) as connection:
            report = _run(source, DataPaths(staged), until or datetime.now(UTC).replace(tzinfo=None), connection, stage)
        _put_in_place(DataPaths(staged), paths)
    return report


@contextmanager
def _staged(root: Path) -> Iterator[Path]:
    """An empty folder below `root`, for this ingest alone; it is removed in the end.

    The folder `root` is held meanwhile.
    """
    staged = root / "ingest.tmp"
    with held(root):
        shutil.rmtree(staged, ignore_errors=True)
        try:
            staged.mkdir()
        except OSError as error:
            raise UserError(f"{root}: cannot be written: {error.strerror}") from error
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _connect(staged: Path, memory_limit: str) -> DuckDBPyConnection:
    connection = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(staged / "spill")})
    connection.execute("set timezone = 'UTC'")
    connection.execute("set enable_progress_bar = false")
    return connection


def _run(
    source: Source, out: DataPaths, until: datetime, connection: DuckDBPyConnection, stage: Stage
) -> QualityReport:
    rows = out.root / "rows"
    files = read_files(source, rows, until, connection, stage)
    read = _count(connection, rows, "*/*/*.parquet") + _count(connection, out.root, "malformed/*.parquet")
    if not read:
        raise UserError(f"{', '.join(files)}: no rows")
    _deduplicate(rows, out, connection, stage)
    rejected, examples = _reject(out, connection), _examples(out, connection)
    events = parquet(out.events, "*.parquet")
    if not any(out.events.glob("*.parquet")):
        counts = ", ".join(f"{why}: {n} ({examples[why]})" for why, n in rejected.items())
        raise UserError(f"{', '.join(files)}: no usable row among {read}; rejected: {counts}")
    stage("items and users", 0, 1)
    tables = {"item": source.items_query(), "user": source.users_query()}
    _side_table(connection, events, tables["item"], "item", ITEM_COLUMNS, out.items)
    _side_table(connection, events, tables["user"], "user", USER_COLUMNS, out.users)
    undescribed = {f"{kind}s": _undescribed(connection, events, table, kind) for kind, table in tables.items() if table}
    write_promotions(connection, source.promotions_query(), out.promotions)
    side_tables = [parquet(path) for path in (out.items, out.users)]
    report = measure(connection, events, side_tables, source.name, files, read, rejected)
    report = replace(report, undescribed=undescribed, examples=examples)
    if report.rows_kept + sum(rejected.values()) != report.rows_read:
        raise ShoprankError(
            f"ingest lost rows: {report.rows_read} read, {report.rows_kept} kept, {sum(rejected.values())} rejected"
        )
    write_json(out.quality, report.to_dict())
    stage("items and users", 1, 1)
    return report


def _deduplicate(rows: Path, out: DataPaths, connection: DuckDBPyConnection, stage: Stage) -> None:
    """Second pass: a bucket at a time, clean events to `events`, their exact duplicates to `duplicates`."""
    out.events.mkdir()
    (out.root / "duplicates").mkdir()
    identity = ", ".join(CANONICAL[name] for name in IDENTITY)
    for bucket in range(BUCKETS):
        stage("cleaning", bucket, BUCKETS)
        if not any(rows.glob(f"*/bucket={bucket}/*.parquet")):
            continue
        connection.execute(
            f"""
            create or replace temp table kept as
            select *, row_number() over (partition by {identity} order by source, row) as copy
            from {parquet(rows, f"*/bucket={bucket}/*.parquet")} where reason is null
            """
        )
        (kept,) = connection.execute("select count(*) from kept where copy = 1").fetchall()[0]
        if not kept:
            continue
        _copy_events(connection, out.events / f"part-{bucket:02d}.parquet")
        _copy(
            connection,
            f"select '{DUPLICATE}' as reason, source, row, {', '.join(RAW_COLUMNS)} from kept where copy > 1",
            out.root / "duplicates" / f"{bucket:02d}.parquet",
        )
    connection.execute("drop table if exists kept")
    stage("cleaning", BUCKETS, BUCKETS)


def _copy_events(connection: DuckDBPyConnection, path: Path) -> None:
    columns = ", ".join(f"{expression} as {name}" for name, expression in CANONICAL.items())
    _copy(connection, f"select {columns} from kept where copy = 1 order by event_time, user_id, item_id", path)


def _reject(out: DataPaths, connection: DuckDBPyConnection) -> dict[str, int]:
    """Gather every rejected row in one Parquet file and count them by reason, the most frequent first."""
    empty = ", ".join(f"null::{'bigint' if n == 'row' else 'varchar'} as {n}" for n in REJECTED_COLUMNS)
    selects = [f"(select {empty} limit 0)"]
    for pattern in ("rows/*/*/*.parquet", "duplicates/*.parquet", "malformed/*.parquet"):
        if any(out.root.glob(pattern)):
            selects.append(f"(select * from {parquet(out.root, pattern)} where reason is not null)")
    _copy(
        connection,
        f"select {', '.join(REJECTED_COLUMNS)} from ({' union all by name '.join(selects)})",
        out.rejected,
    )
    counts = connection.execute(
        f"select reason, count(*) from {parquet(out.rejected)} group by 1 order by 2 desc, 1"
    ).fetchall()
    return dict(counts)


def _examples(out: DataPaths, connection: DuckDBPyConnection) -> dict[str, str]:
    """By reason, the place of the first rejected row, and the value that is wrong, where it is one column's."""
    values = " ".join(f"when '{why}' then {name}" for why, name in FIELD_OF.items())
    rows = connection.execute(
        f"""
        select distinct on (reason) reason, source, row, case reason {values} else line_text end
        from {parquet(out.rejected)} order by reason, source, row
        """
    ).fetchall()
    told = {}
    for why, source, row, value in rows:
        place = f"{'line' if why.startswith(MALFORMED) else 'row'} {row} of {Path(source).name}"
        told[why] = place if value is None else f"{place}: {value!r:.60}"
    return told


def _side_table(
    connection: DuckDBPyConnection, events: str, known: str | None, kind: str, columns: tuple[str, ...], path: Path
) -> None:
    """The items or users table: everything the source describes (of users: who has events) and everything seen."""
    key = f"{kind}_id"
    known = known or f"select distinct {key} from {events}"
    described = {row[0] for row in connection.execute(f"describe {known}").fetchall()}
    attributes = ", ".join(
        f"nullif(max(trim({c})), '') as {c}" if c in described else f"null::varchar as {c}" for c in columns
    )
    join = "full join" if kind == "item" else "right join"
    item_key = f"{ITEM_KEY} as item_key, " if kind == "item" else ""
    query = f"""
        select {key}, {item_key}* exclude ({key}) from (
            select coalesce(seen.{key}, known.{key}) as {key}, known.* exclude ({key})
            from (select trim({key}) as {key}, {attributes} from ({known}) group by all) as known
            {join} (select distinct {key} from {events}) as seen on known.{key} = seen.{key}
        ) where {key} is not null and {key} <> '' order by {key}
        """
    if failure := attempt(connection, copying(query, path)):
        raise UserError(f"the {kind}s table cannot be read: {reason(failure)}") from failure
    if kind == "item":
        (ids, keys) = connection.execute(
            f"select count(distinct item_id), count(distinct item_key) from {parquet(path)}"
        ).fetchall()[0]
        if ids != keys:
            raise ShoprankError(f"two of {ids} item ids have the same 63-bit key; rename one of them")


def _undescribed(connection: DuckDBPyConnection, events: str, known: str, kind: str) -> int:
    """How many users or items of the events the source's table has no row of."""
    key = f"{kind}_id"
    there = f"select coalesce(trim({key}), '') from ({known})"  # a null among them would be equal to nothing and to all
    query = f"select count(distinct {key}) from {events} where {key} not in ({there})"
    return int(connection.execute(query).fetchall()[0][0])


def _copy(connection: DuckDBPyConnection, query: str, path: Path) -> None:
    connection.execute(copying(query, path))


def _count(connection: DuckDBPyConnection, folder: Path, pattern: str) -> int:
    if not any(folder.glob(pattern)):
        return 0
    return int(connection.execute(f"select count(*) from {parquet(folder, pattern)}").fetchall()[0][0])


def _put_in_place(staged: DataPaths, paths: DataPaths) -> None:
    """Swap the new files in; the quality report goes last, so what reads it finds the rest in place."""
    paths.quality.unlink(missing_ok=True)
    if paths.events.exists():
        paths.events.replace(staged.root / "events.old")
    staged.events.replace(paths.events)
    for name in ("items", "users", "promotions", "rejected", "quality"):
        getattr(staged, name).replace(getattr(paths, name))
