"""CSV and Parquet files as DuckDB relations, checked before they are read."""

from __future__ import annotations

import csv
import glob
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import duckdb
from duckdb import DuckDBPyConnection

from shoprank.errors import UserError
from training.ingest.source import listed
from training.sql import file_literal, identifier, literal, parquet, writable


def expand(patterns: Sequence[str]) -> list[Path]:
    """The files that paths and glob patterns name, each checked to be a file. Raises UserError for one that is not."""
    if not patterns:
        raise UserError("no file given; name one with --file")
    found: list[Path] = []
    for pattern in patterns:
        magic = glob.has_magic(pattern) and not Path(pattern).exists()
        # Path.glob takes no absolute pattern.
        matches = sorted(glob.glob(pattern, recursive=True)) if magic else [pattern]  # noqa: PTH207
        if not matches:
            raise UserError(f"{pattern}: no file matches")
        found.extend(map(Path, matches))
    for path in found:
        if path.is_dir():
            raise UserError(f"{path}: a folder, not a file; name its files, for example '{path}/*.csv'")
        require(path)
    return found


def require(path: Path) -> None:
    """Raise UserError unless `path`, which is no pattern, is a file that holds something."""
    if path.is_dir():
        raise UserError(f"{path}: a folder, not a file")
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty")


def relation(
    connection: DuckDBPyConnection, path: Path, needed: Sequence[str], strict: bool = False, delimiter: str = ","
) -> str:
    """The name of a view of one file whose columns are text (CSV) or typed (Parquet).

    strict: reading a malformed line is an error; otherwise the line is set aside in DuckDB's table reject_errors.
    delimiter: what is between the columns of a CSV file.
    Raises UserError where the file cannot be read or lacks one of `needed`, naming the columns there are.
    """
    if is_parquet(path):
        types, function = _parquet(connection, path)
        names, rows = list(types), _writable(types, function)
    else:
        names = header(path, delimiter)
        if path.suffix == ".gz":
            _check_packed(path)
        rows = f"select * from {_csv(path, names, strict, delimiter)}"
    if missing := [n for n in needed if n not in names]:
        raise UserError(f"{path}: no column {listed(missing)}; the file has {listed(names)}")
    view = identifier(str(path))
    connection.execute(f"create or replace view {view} as {rows}")
    return view


def _check_packed(path: Path) -> None:
    """Raise UserError where the file's checksum does not hold: DuckDB would read the damaged bytes as they come."""
    try:
        with opened(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def is_parquet(path: Path) -> bool:
    """Whether the name says Parquet; everything else is read as CSV."""
    return path.name.endswith((".parquet", ".pq"))


def confine_quotes(
    connection: DuckDBPyConnection, path: Path, copy: Path, delimiter: str = ","
) -> list[tuple[int, str]]:
    """Put a copy of the CSV file `path` behind its view, without the lines that leave a quote open.

    One such line would otherwise swallow the lines after it. In the copy every event is one line, and every line ends
    alike. Returns number and text of the lines left out.
    """
    broken = []
    with opened(path) as source, copy.open("wb") as target:
        for number, line in enumerate(source, 1):
            text = line.rstrip(b"\r\n")
            if text.count(b'"') % 2:
                broken.append((number, text.decode(errors="replace")))
                text = b""
            target.write(text + b"\n")
    rows = _csv(copy, header(path, delimiter), strict=False, delimiter=delimiter)
    connection.execute(f"create or replace view {identifier(str(path))} as select * from {rows}")
    return broken


def _parquet(connection: DuckDBPyConnection, path: Path) -> tuple[dict[str, str], str]:
    """Type of each column, and the table function that reads the file."""
    function = parquet(path)
    try:
        described = connection.execute(f"describe select * from {function}").fetchall()
    except duckdb.Error as error:
        raise UserError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from error
    return {name: kind for name, kind, *_ in described}, function


def _writable(types: dict[str, str], function: str) -> str:
    """A query of all rows, with -infinity for times that cannot be written as text."""
    times = [identifier(name) for name, kind in types.items() if kind == "TIMESTAMP"]
    replaced = ", ".join(f"{writable(name)} as {name}" for name in times)
    return f"select *{f' replace ({replaced})' if times else ''} from {function}"


def _csv(path: Path, names: Sequence[str], strict: bool, delimiter: str) -> str:
    columns = ", ".join(f"{literal(n)}: 'VARCHAR'" for n in names)
    options = f"header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', auto_detect = false"
    options += ", hive_partitioning = false"
    if not strict:
        options += ", store_rejects = true"
    return f"read_csv({file_literal(path)}, {options}, columns = {{{columns}}})"


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where its name ends in .gz."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield file  # type: ignore[misc]


def header(path: Path, delimiter: str = ",") -> list[str]:
    """Column names of a CSV file; a column without one is called after its place, as in `column0`.

    Raises UserError where there are none, one is repeated (case aside), or the line is not UTF-8.
    """
    try:
        with opened(path) as file:
            line = file.readline(1 << 20).decode("utf-8-sig")
        names = [n.strip() for n in next(csv.reader(io.StringIO(line), delimiter=delimiter), [])]
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line 1: not UTF-8: {error.reason} at byte {error.start}") from error
    except csv.Error as error:
        raise UserError(f"{path}, line 1: not a line of column names: {error}") from error
    if not any(names):
        raise UserError(f"{path}, line 1: no column names")
    names = [name or f"column{place}" for place, name in enumerate(names)]
    folded = [n.casefold() for n in names]
    if repeated := sorted({n for n in names if folded.count(n.casefold()) > 1}):
        raise UserError(f"{path}, line 1: column {listed(repeated)} appears more than once")
    return names
