"""Runs an ingest: streams a source through cleaning into Parquet, in two bounded passes.

The first pass reads each file once and writes every row, typed and with its reason, into buckets by user. The second
takes one bucket at a time, finds exact duplicates, and writes the clean events. Nothing is held but a bucket, so a
source larger than memory goes through. The result is put in place by renames at the very end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from feature_repo.paths import DataPaths, write_json
from shoprank.errors import ShoprankError, UserError
from training.ingest.clean import DUPLICATE, IDENTITY, MALFORMED, classified
from training.ingest.quality import QualityReport, measure
from training.ingest.source import ITEM_COLUMNS, RAW_COLUMNS, USER_COLUMNS, Source, literal

BUCKETS = 16
KEY = "cast(md5_number_lower(item_id) & 9223372036854775807 as bigint)"
REJECTED_COLUMNS = ("reason", "source", "row", *RAW_COLUMNS, "line_text")

Stage = Callable[[str, int, int], None]
"""Is told what is being done, how many steps of it are done, and of how many."""


def ingest(
    source: Source,
    paths: DataPaths,
    until: datetime | None = None,
    memory_limit: str = "1GB",
    stage: Stage = lambda name, done, total: None,
) -> QualityReport:
    """Write clean events, items, users, rejected rows and the quality report below `paths`.

    until: naive UTC; a later event is rejected as of the future (default: now). What was there before stays until all
    is written. Raises UserError where the source cannot be read or no row of it is usable.
    """
    staged = paths.root / "ingest.tmp"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        with _connect(staged, memory_limit) as connection:
            report = _run(source, DataPaths(staged), until or datetime.now(UTC).replace(tzinfo=None), connection, stage)
        _put_in_place(DataPaths(staged), paths)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return report


def _connect(staged: Path, memory_limit: str) -> DuckDBPyConnection:
    connection = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(staged / "spill")})
    connection.execute("set timezone = 'UTC'")
    connection.execute("set enable_progress_bar = false")
    return connection


def _run(
    source: Source, out: DataPaths, until: datetime, connection: DuckDBPyConnection, stage: Stage
) -> QualityReport:
    rows = out.root / "rows"
    files = _read(source, rows, until, connection, stage)
    typed = f"read_parquet({literal(f'{rows}/*/*/*.parquet')}, hive_partitioning = true)"
    (read,) = connection.execute(f"select count(*) from {typed}").fetchall()[0]
    malformed = sum(1 for _ in (out.root / "malformed").glob("*.parquet")) and _count(
        connection, f"{out.root}/malformed/*.parquet"
    )
    if not read + malformed:
        raise UserError(f"{', '.join(files)}: no rows")
    _deduplicate(rows, out, connection, stage)
    rejected = _reject(rows, out, connection, stage, bool(malformed))
    events = f"read_parquet({literal(f'{out.events}/*.parquet')})"
    if not any(out.events.glob("*.parquet")):
        counts = ", ".join(f"{reason}: {n}" for reason, n in rejected.items())
        raise UserError(f"{', '.join(files)}: no usable row among {read + malformed}; rejected: {counts}")
    stage("items and users", 0, 1)
    _side_table(connection, events, source.items_query(), "item", ITEM_COLUMNS, out.items)
    _side_table(connection, events, source.users_query(), "user", USER_COLUMNS, out.users)
    report = measure(connection, events, source.name, files, read + malformed, rejected)
    if report.rows_kept + sum(rejected.values()) != report.rows_read:
        raise ShoprankError(
            f"ingest lost rows: {report.rows_read} read, {report.rows_kept} kept, {sum(rejected.values())} rejected"
        )
    write_json(out.quality, report.to_dict())
    stage("items and users", 1, 1)
    return report


def _read(source: Source, rows: Path, until: datetime, connection: DuckDBPyConnection, stage: Stage) -> list[str]:
    """First pass: every row of every file, typed, into `rows/part=N/bucket=M`; malformed lines beside."""
    files = []
    malformed = rows.with_name("malformed")
    malformed.mkdir()
    for number, part in enumerate(source.parts(connection)):
        stage(f"reading {Path(part.name).name}", number, number + 1)
        numbered = f"select {literal(part.name)} as source, row_number() over () as row, * from ({part.query})"
        bucketed = f"select *, coalesce(hash(user_id) % {BUCKETS}, 0) as bucket from ({classified(numbered, until)})"
        folder = rows / f"part={number}"
        folder.mkdir(parents=True)
        try:
            connection.execute(
                f"copy ({bucketed}) to {literal(str(folder))} (format parquet, compression zstd, partition_by (bucket))"
            )
        except duckdb.InvalidInputException as error:
            raise UserError(f"{part.name}: cannot be read: {str(error).splitlines()[0]}") from error
        _keep_malformed(connection, part.name, malformed / f"{number}.parquet")
        files.append(part.name)
    return files


def _keep_malformed(connection: DuckDBPyConnection, name: str, path: Path) -> None:
    tables = {row[0] for row in connection.execute("select table_name from duckdb_tables()").fetchall()}
    if "reject_errors" not in tables:
        return
    connection.execute(
        f"""
        copy (
            select '{MALFORMED}: ' || lower(any_value(error_type::varchar)) as reason, {literal(name)} as source,
                   line::bigint as row, any_value(csv_line) as line_text
            from reject_errors group by line having count(*) > 0
        ) to {literal(str(path))} (format parquet)
        """
    )
    connection.execute("drop table reject_errors")
    connection.execute("drop table if exists reject_scans")
    if not _count(connection, str(path)):
        path.unlink()


def _deduplicate(rows: Path, out: DataPaths, connection: DuckDBPyConnection, stage: Stage) -> None:
    """Second pass: a bucket at a time, clean events to `events`, their exact duplicates to `duplicates`."""
    out.events.mkdir()
    (out.root / "duplicates").mkdir()
    typed = {"event_time": "t_event_time", "quantity": "t_quantity", "price": "t_price", "discount": "t_discount"}
    identity = ", ".join(typed.get(name, name) for name in IDENTITY)
    for bucket in range(BUCKETS):
        stage("cleaning", bucket, BUCKETS)
        if not any(rows.glob(f"*/bucket={bucket}/*.parquet")):
            continue
        bucket_files = literal(f"{rows}/*/bucket={bucket}/*.parquet")
        connection.execute(
            f"""
            create or replace temp table kept as
            select *, row_number() over (partition by {identity} order by source, row) as copy
            from read_parquet({bucket_files}, hive_partitioning = false) where reason is null
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
    text = "nullif(trim({}), '')"
    _copy(
        connection,
        f"""
        select coalesce({text.format("event_id")}, md5(concat_ws('|', source, row))) as event_id,
               t_event_time as event_time, trim(user_id) as user_id, trim(item_id) as item_id,
               {KEY.replace("item_id", "trim(item_id)")} as item_key, lower(trim(event_type)) as event_type,
               t_quantity as quantity, t_price as price, t_discount as discount,
               {text.format("session_id")} as session_id, {text.format("channel")} as channel,
               {text.format("query")} as query
        from kept where copy = 1 order by event_time, user_id, item_id
        """,
        path,
    )


def _reject(
    rows: Path, out: DataPaths, connection: DuckDBPyConnection, stage: Stage, malformed: bool
) -> dict[str, int]:
    """Gather every rejected row in one Parquet file and count them by reason, the most frequent first."""
    parts = [f"read_parquet({literal(f'{rows}/*/*/*.parquet')}, hive_partitioning = false)"]
    if any((out.root / "duplicates").glob("*.parquet")):
        parts.append(f"read_parquet({literal(f'{out.root}/duplicates/*.parquet')})")
    if malformed:
        parts.append(f"read_parquet({literal(f'{out.root}/malformed/*.parquet')})")
    selects = " union all by name ".join(f"(select * from {part} where reason is not null)" for part in parts)
    empty = "select " + ", ".join(f"null::{'bigint' if n == 'row' else 'varchar'} as {n}" for n in REJECTED_COLUMNS)
    query = f"select {', '.join(REJECTED_COLUMNS)} from ({empty} limit 0) union all by name ({selects})"
    _copy(connection, f"select {', '.join(REJECTED_COLUMNS)} from ({query})", out.rejected)
    counts = connection.execute(
        f"select reason, count(*) from read_parquet({literal(str(out.rejected))}) group by 1 order by 2 desc, 1"
    ).fetchall()
    return dict(counts)


def _side_table(
    connection: DuckDBPyConnection, events: str, query: str | None, kind: str, columns: tuple[str, ...], path: Path
) -> None:
    """The items or users table: everything the source describes (of users: who has events) and everything seen."""
    key = f"{kind}_id"
    known = query or f"select distinct {key} from {events}"
    described = {row[0] for row in connection.execute(f"describe {known}").fetchall()}
    attributes = ", ".join(
        f"nullif(trim(known.{c}), '') as {c}" if c in described else f"null::varchar as {c}" for c in columns
    )
    join = "full join" if kind == "item" else "right join"
    item_key = f"{KEY} as item_key, " if kind == "item" else ""
    _copy(
        connection,
        f"""
        select {key}, {item_key}* exclude ({key}) from (
            select coalesce(seen.{key}, known.{key}) as {key}, {attributes}
            from (select trim({key}) as {key}, * exclude ({key}) from ({known})) as known
            {join} (select distinct {key} from {events}) as seen on known.{key} = seen.{key}
        ) where {key} is not null and {key} <> '' order by {key}
        """,
        path,
    )
    if kind == "item":
        (ids, keys) = connection.execute(
            f"select count(distinct item_id), count(distinct item_key) from read_parquet({literal(str(path))})"
        ).fetchall()[0]
        if ids != keys:
            raise ShoprankError(f"two of {ids} item ids have the same 63-bit key; rename one of them")


def _copy(connection: DuckDBPyConnection, query: str, path: Path) -> None:
    connection.execute(f"copy ({query}) to {literal(str(path))} (format parquet, compression zstd)")


def _count(connection: DuckDBPyConnection, pattern: str) -> int:
    return int(connection.execute(f"select count(*) from read_parquet({literal(pattern)})").fetchall()[0][0])


def _put_in_place(staged: DataPaths, paths: DataPaths) -> None:
    """Swap the new files in; the quality report goes last, so what reads it finds the rest in place."""
    paths.quality.unlink(missing_ok=True)
    shutil.rmtree(paths.events, ignore_errors=True)
    staged.events.replace(paths.events)
    for name in ("items", "users", "rejected", "quality"):
        getattr(staged, name).replace(getattr(paths, name))
