"""The first pass of an ingest: every row of every file, typed and with its reason, into buckets by user."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb import DuckDBPyConnection

from shoprank.errors import UserError
from training.ingest.clean import MALFORMED, classified
from training.ingest.files import confine_quotes
from training.ingest.source import Part, Source
from training.sql import literal

BUCKETS = 16
SWALLOWING = ("UNQUOTED VALUE", "LINE SIZE OVER MAXIMUM")
"""Errors of DuckDB's CSV reader after which later lines may be taken for a part of an earlier one."""

Stage = Callable[[str, int, int], None]
"""Is told what is being done, how many steps of it are done, and of how many."""


def read_files(source: Source, rows: Path, until: datetime, connection: DuckDBPyConnection, stage: Stage) -> list[str]:
    """Read every row, typed, into `rows/part=N/bucket=M`, malformed lines beside; return the names of the files."""
    files = []
    malformed = rows.with_name("malformed")
    malformed.mkdir()
    for number, part in enumerate(source.parts(connection)):
        stage(f"reading {Path(part.name).name}", number, number + 1)
        numbered = f"select {literal(part.name)} as source, row_number() over () as row, * from ({part.query})"
        bucketed = (
            f"select *, coalesce(hash(trim(user_id)) % {BUCKETS}, 0) as bucket from ({classified(numbered, until)})"
        )
        _read_part(connection, part, bucketed, rows / f"part={number}", malformed / f"{number}.parquet")
        files.append(part.name)
    return files


def _read_part(connection: DuckDBPyConnection, part: Part, query: str, rows: Path, malformed: Path) -> None:
    """Write the rows of one file to buckets below `rows`; its malformed lines, if any, to the file `malformed`."""
    copy = f"copy ({query}) to {literal(str(rows))} (format parquet, compression zstd, partition_by (bucket))"
    rows.mkdir(parents=True)
    failure = attempt(connection, copy)
    open_quotes: list[tuple[int, str]] = []
    if part.csv and (isinstance(failure, duckdb.InvalidInputException) or _swallowed(connection)):
        shutil.rmtree(rows)
        rows.mkdir()
        _forget_malformed(connection)
        open_quotes = confine_quotes(connection, part.csv, rows.with_name(f"{rows.name}.csv"), part.delimiter)
        failure = attempt(connection, copy)
    if failure:
        raise UserError(f"{part.name}: cannot be read: {str(failure).splitlines()[0]}") from failure
    _keep_malformed(connection, part.name, open_quotes, malformed)


def attempt(connection: DuckDBPyConnection, query: str) -> duckdb.Error | None:
    """Run a query over a given file; the error, where that is what is wrong."""
    try:
        connection.execute(query)
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
        return error
    return None


def reason(error: duckdb.Error) -> str:
    """What was wrong, in one line; of a CSV file also why, and which file it was."""
    text = str(error)
    first = text.partition("\n")[0]
    why = re.search(r"^Original Line: .*\n(.+)$", text, re.MULTILINE)
    file = re.search(r"^  file = (.+)$", text, re.MULTILINE)
    return f"{file[1]}: {first}: {why[1]}" if why and file else first


def _has_malformed(connection: DuckDBPyConnection) -> bool:
    return bool(connection.execute("from duckdb_tables() where table_name = 'reject_errors'").fetchall())


def _swallowed(connection: DuckDBPyConnection) -> bool:
    """Whether a line left a quote open, so that the reader took later lines for a part of it."""
    query = f"from reject_errors where error_type::varchar in {SWALLOWING} limit 1"
    return _has_malformed(connection) and bool(connection.execute(query).fetchall())


def _forget_malformed(connection: DuckDBPyConnection) -> None:
    connection.execute("drop table if exists reject_errors")
    connection.execute("drop table if exists reject_scans")


def _keep_malformed(connection: DuckDBPyConnection, name: str, open_quotes: list[tuple[int, str]], path: Path) -> None:
    """Write the lines the reader set aside, and those with an open quote, to `path`, if there are any."""
    connection.execute("create or replace temp table malformed (reason varchar, row bigint, line_text varchar)")
    if _has_malformed(connection):
        connection.execute(
            f"""
            insert into malformed
            select '{MALFORMED}: ' || lower(min(error_type::varchar)), line,
                   ltrim(any_value(csv_line), chr(10) || chr(13))
            from reject_errors group by line
            """
        )
        _forget_malformed(connection)
    if open_quotes:
        lines = pa.table(dict(zip(("row", "line_text"), zip(*open_quotes, strict=True), strict=True)))
        connection.register("open_quotes", lines)
        connection.execute(f"insert into malformed select '{MALFORMED}: open quote', row, line_text from open_quotes")
        connection.unregister("open_quotes")
    if connection.execute("from malformed limit 1").fetchall():
        query = f"select reason, {literal(name)} as source, row, line_text from malformed order by row"
        connection.execute(copying(query, path))


def copying(query: str, path: Path) -> str:
    """The statement that writes the rows of `query` to one Parquet file."""
    return f"copy ({query}) to {literal(str(path))} (format parquet, compression zstd)"
