"""Parquet files that a job reads: what is wrong with one is told with its name and what to run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shoprank.errors import UserError

RUN_INGEST = "run `shoprank ingest` first"


def read_whole(path: Path, columns: Sequence[str] | None = None, advice: str = RUN_INGEST) -> pa.Table:
    """The file's table, or some of its columns. Raises UserError where it is missing or damaged."""
    with reading(path, advice):
        return pq.ParquetFile(path).read(None if columns is None else list(columns))


def rows_of(path: Path, advice: str = RUN_INGEST) -> int:
    """The file's rows, by its footer. Raises UserError where it is missing or damaged."""
    with reading(path, advice):
        return int(pq.read_metadata(path).num_rows)


@contextmanager
def reading(path: Path, advice: str = RUN_INGEST) -> Iterator[None]:
    """Enclose what reads a file. Raises UserError where it is missing, damaged or cannot be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {advice}") from error
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:  # Arrow's own have none
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{path}: is damaged: {reason}; {advice}") from error
