"""CSV and Parquet files as DuckDB relations, checked before they are read."""

from __future__ import annotations

import csv
import glob
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from shoprank.errors import UserError
from training.ingest.source import listed, literal


def expand(patterns: Sequence[str]) -> list[Path]:
    """The files that paths and glob patterns name, each checked to be a file. Raises UserError for one that is not."""
    if not patterns:
        raise UserError("no file given; name one with --file")
    found: list[Path] = []
    for pattern in patterns:
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]
        if not matches:
            raise UserError(f"{pattern}: no file matches")
        found.extend(map(Path, matches))
    for path in found:
        if path.is_dir():
            raise UserError(f"{path}: a folder, not a file; name its files, for example '{path}/*.csv'")
        if not path.exists():
            raise UserError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty")
    return found


def relation(connection: DuckDBPyConnection, path: Path, needed: Sequence[str]) -> str:
    """A table function over one file whose columns are text (CSV) or typed (Parquet).

    Raises UserError where the file cannot be read or lacks one of `needed`, naming the columns there are.
    """
    if path.name.endswith((".parquet", ".pq")):
        names, function = _parquet(connection, path)
    else:
        names, function = _csv(path)
    if missing := [n for n in needed if n not in names]:
        raise UserError(f"{path}: no column {listed(missing)}; the file has {listed(names)}")
    return function


def _parquet(connection: DuckDBPyConnection, path: Path) -> tuple[list[str], str]:
    function = f"read_parquet({literal(str(path))})"
    try:
        described = connection.execute(f"describe select * from {function}").fetchall()
    except duckdb.Error as error:
        raise UserError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from error
    return [row[0] for row in described], function


def _csv(path: Path) -> tuple[list[str], str]:
    names = header(path)
    columns = ", ".join(f"{literal(n)}: 'VARCHAR'" for n in names)
    options = "header = true, delim = ',', quote = '\"', escape = '\"', auto_detect = false, store_rejects = true"
    return names, f"read_csv({literal(str(path))}, {options}, columns = {{{columns}}})"


def header(path: Path) -> list[str]:
    """Column names of a CSV file. Raises UserError where it has none, repeats one, or is not UTF-8."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            line = file.readline(1 << 20).decode("utf-8-sig")
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line 1: not UTF-8: {error.reason} at byte {error.start}") from error
    names = [n.strip() for n in next(csv.reader(io.StringIO(line)), [])]
    if not any(names):
        raise UserError(f"{path}, line 1: no column names")
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise UserError(f"{path}, line 1: column {listed(repeated)} appears more than once")
    return names
