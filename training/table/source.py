"""Reads a CSV or Parquet file into DuckDB, every row numbered, on disk where it does not fit into memory."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from shoprank.errors import UserError
from training.sql import file_literal, identifier, literal, parquet, writable

ROW = "__row"
POSITION = "__position"
RESERVED = (ROW, POSITION)
DELIMITERS = ",;\t|"
MEMORY_LIMIT = "1500MB"
MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none", "?", "-")


@dataclass(frozen=True, slots=True)
class Source:
    """A file loaded as the DuckDB table `source`: its columns with DuckDB's type of each, and the number of
    rows.

    `__row` numbers the rows from 1. In a text column every cell is trimmed and the words for "missing" are
    null; in a number column NaN is null.
    """

    file: Path
    connection: duckdb.DuckDBPyConnection
    types: dict[str, str]
    rows: int
    is_csv: bool

    def one(self, sql: str) -> tuple[Any, ...]:
        """The single row a query gives."""
        row: tuple[Any, ...] = self.connection.execute(sql).fetchone()
        return row

    def require(self, column: str) -> None:
        """Raise UserError unless the file has the column."""
        if column not in self.types:
            raise UserError(f"{self.file}: no column {column!r}; it has {', '.join(map(repr, self.types))}")

    def place(self, row: int) -> str:
        """How a person finds a row: its line, the header being line 1, or its number in a Parquet file."""
        return f"line {row + 1}" if self.is_csv else f"row {row}"


def load(file: Path, folder: Path) -> Source:
    """Load `file`, keeping DuckDB's own file below `folder`.

    Raises UserError where the file is missing, empty, not readable as CSV or Parquet, or has no rows.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if not file.stat().st_size:
        raise UserError(f"{file}: the file is empty")
    connection = duckdb.connect(str(folder / "table.duckdb"))
    connection.execute("SET TimeZone = 'UTC'")
    # A Parquet file's bounds leave NaN out, and by them DuckDB would take every isnan() for false.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    connection.execute(f"SET temp_directory = {literal(str(folder / 'spill'))}")
    with file.open("rb") as opened:
        is_csv = opened.read(4) != b"PAR1"
    try:
        reader = csv_reader(file) if is_csv else parquet(file)
        described = connection.execute(f"DESCRIBE FROM {reader}").fetchall()
        types = {name: kind for name, kind, *_ in described}
        for name in types:
            if name.lower() in RESERVED:
                raise UserError(f"{file}: the column name {name!r} is reserved; rename it")
        cells = ", ".join(_cleaned(name, kind) for name, kind in types.items())
        connection.execute(f"CREATE TABLE source AS SELECT row_number() OVER () AS {ROW}, {cells} FROM {reader}")
    except duckdb.Error as error:
        raise UserError(f"{file}: {_first_lines(str(error))}") from error
    (rows,) = connection.execute("SELECT count(*) FROM source").fetchone() or (0,)
    if not rows:
        raise UserError(f"{file}: has a header and no rows")
    return Source(file, connection, types, rows, is_csv)


def csv_reader(file: Path) -> str:
    """The SQL that reads a CSV file, every cell as text; the delimiter is the one its header has most of."""
    header = _header(file)
    delimiter = max(DELIMITERS, key=header.count)
    names = next(csv.reader([header], delimiter=delimiter))
    if not names:
        raise UserError(f"{file}: line 1: the header is empty")
    taken: dict[str, str] = {}
    for position, name in enumerate(names, 1):
        if not name.strip():
            raise UserError(f"{file}: line 1: column {position} of the header has no name")
        if (earlier := taken.setdefault(name.lower(), name)) != name:
            raise UserError(f"{file}: line 1: the header names {earlier!r} and {name!r}, which differ in case only")
        if len(taken) < position:
            raise UserError(f"{file}: line 1: the header names {name!r} twice")
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({file_literal(file)}, auto_detect = false, hive_partitioning = false, header = true,"
        f" delim = {literal(delimiter)}, quote = '\"', escape = '\"', columns = {{{columns}}})"
    )


def _header(file: Path) -> str:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            first = io.BufferedReader(opened).readline()
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{file}: not a gzip file, though its name ends in .gz: {error}") from error
    try:
        return first.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: line 1: not UTF-8 text: {error.reason} at byte {error.start + 1}") from error


def _cleaned(name: str, kind: str) -> str:
    column = identifier(name)
    if kind in ("FLOAT", "DOUBLE"):
        return f"CASE WHEN NOT isnan({column}) THEN {column} END AS {column}"
    if kind == "TIMESTAMP":
        return f"{writable(column)} AS {column}"
    if kind != "VARCHAR":
        return column
    words = ", ".join(map(literal, MISSING_WORDS))
    return f"CASE WHEN lower(trim({column})) IN ({words}) THEN NULL ELSE trim({column}) END AS {column}"


def _first_lines(message: str) -> str:
    """What DuckDB says is wrong, without the piece of SQL it shows after it."""
    said = message.partition("LINE 1:")[0]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " ".join(lines[:3])
