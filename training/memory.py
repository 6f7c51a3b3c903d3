"""The memory that DuckDB may use, as it is given to a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from shoprank.errors import UserError


@contextmanager
def bounded(limit: str) -> Iterator[None]:
    """Enclose work whose DuckDB may use `limit`, such as 500MB, before it spills to disk.

    Raises UserError where that is no size, and where the work does not fit into it.
    """
    wrong = UserError(f"memory limit {limit!r}: not a size such as 500MB or 2GB")
    if limit.strip().startswith("-"):  # DuckDB takes it for no limit
        raise wrong
    try:
        duckdb.connect(config={"memory_limit": limit}).close()
    except duckdb.ParserException as error:
        raise wrong from error
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise UserError(f"memory limit {limit!r}: too small for these events; raise it") from error
