"""Texts, names and Parquet files in DuckDB's SQL."""

from __future__ import annotations

from pathlib import Path

from feature_repo.paths import pattern


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def file_literal(path: Path) -> str:
    """One file as an SQL string for DuckDB's readers, which take `[`, `*` and `?` for patterns."""
    return literal(pattern(path))


def parquet(path: Path, names: str = "") -> str:
    """The table of a Parquet file, or of those below a folder that `names` names, such as `*.parquet`.

    Its columns are those of the files: a folder above them that is called `year=2024` adds none.
    """
    return f"read_parquet({literal(pattern(path, names))}, hive_partitioning = false)"
