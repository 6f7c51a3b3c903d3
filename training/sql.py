"""Texts, names and Parquet files in DuckDB's SQL."""

from __future__ import annotations

from pathlib import Path

from feature_repo.paths import pattern

FIRST_TIME = "290309-12-22 (BC) 00:00:00"
"""The first timestamp that DuckDB can write as text. Files can hold earlier ones, and they would end the connection."""

MOST_WHOLE = 1e38
"""Below it lie the floats that DuckDB's greatest integer holds."""


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def writable(column: str) -> str:
    """A column of type TIMESTAMP in SQL, -infinity where a time cannot be written as text."""
    return f"case when {column} < timestamp '{FIRST_TIME}' then timestamp '-infinity' else {column} end"


def as_text(expression: str) -> str:
    """An SQL expression as text.

    A whole number has no decimals where floats or decimals are kept: pandas makes 1001.0 of an id of 1001 in a column
    with gaps, and NaN of a gap, which is null.
    """
    text, kind = f"cast({expression} as varchar)", f"typeof({expression})"
    number, is_float = f"try_cast({text} as double)", f"{kind} in ('FLOAT', 'DOUBLE')"
    return (
        f"case when {is_float} and isnan({number}) then null "
        f"when {is_float} and {number} = trunc({number}) and abs({number}) < {MOST_WHOLE} "
        f"then cast(cast({number} as hugeint) as varchar) "
        f"when {kind} like 'DECIMAL%' then regexp_replace({text}, '\\.0+$', '') else {text} end"
    )


def file_literal(path: Path) -> str:
    """One file as an SQL string for DuckDB's readers, which take `[`, `*` and `?` for patterns."""
    return literal(pattern(path))


def parquet(path: Path, names: str = "") -> str:
    """The table of a Parquet file, or of those below a folder that `names` names, such as `*.parquet`.

    Its columns are those of the files: a folder above them that is called `year=2024` adds none.
    """
    return f"read_parquet({literal(pattern(path, names))}, hive_partitioning = false)"
