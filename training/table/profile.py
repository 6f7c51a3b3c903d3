"""Infers what each column of a table is: a number, a date, a category, or nothing a model should see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from training.sql import identifier, literal
from training.table.label import Label
from training.table.source import ROW, Source

MOSTLY = 0.9
UNIQUE_SHARE = 0.5
UNIQUE_VALUES = 100
CODES = 100
REPEATED = 0.01
SHOWN = 5
LARGEST = 1e30
"""Numbers beyond it count as unreadable: with them, float32 arithmetic could overflow."""
NUMBER_TYPES = (
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
)
DATE_TYPES = ("DATE", "TIMESTAMP")
BOOLEAN_WORDS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}
DATE_FORMATS = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y%m%d", "%d-%b-%Y")
Kind = Literal["number", "boolean", "date", "category", "dropped"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table and what becomes of it.

    sql: its value as DOUBLE (number, boolean), TIMESTAMP (date) or VARCHAR (category). reason: why it was
    dropped. missing: rows without a value. bad: cells that did not read as the column's kind and count as
    missing, and bad_cells, the first few of them, as (row, cell).
    """

    name: str
    kind: Kind
    sql: str = ""
    reason: str = ""
    missing: int = 0
    bad: int = 0
    bad_cells: tuple[tuple[int, str], ...] = ()
    has_hours: bool = False


def profile(
    source: Source, label: Label, ids: Sequence[str] = (), seen: Callable[[int], None] = lambda columns: None
) -> list[Column]:
    """What each column but the label is, in the file's order, judged by the rows that have a label."""
    columns = []
    for name in source.types:
        if name != label.column:
            columns.append(
                Column(name, "dropped", reason="named as an id") if name in ids else _column(source, label, name)
            )
        seen(1)
    return columns


def copies(source: Source, label: Label, columns: Sequence[Column]) -> list[str]:
    """Columns that tell the label exactly: two values, each always with the same label."""
    found = []
    for column in columns:
        if column.kind == "dropped":
            continue
        values, pairs = source.one(
            f"SELECT count(DISTINCT {column.sql}), count(DISTINCT ({column.sql}, {label.sql})) FROM source"
            f" WHERE {label.sql} IS NOT NULL AND {column.sql} IS NOT NULL"
        )
        if values == pairs == 2 and not column.missing + column.bad:
            found.append(column.name)
    return found


def _column(source: Source, label: Label, name: str) -> Column:
    type_ = source.types[name].split("(")[0]
    if type_ == "BOOLEAN":
        return _checked(source, label, name, "boolean", f"CAST({identifier(name)} AS DOUBLE)")
    if type_ in NUMBER_TYPES:
        return _checked(source, label, name, "number", _finite(f"CAST({identifier(name)} AS DOUBLE)"))
    if type_.startswith(DATE_TYPES):
        zoned = f"TRY_CAST({identifier(name)} AS TIMESTAMPTZ)"  # from type TIMESTAMPTZ_NS there is no other way
        return _checked(source, label, name, "date", _date(f"TRY_CAST({zoned} AS TIMESTAMP)"))
    if type_ in ("VARCHAR", "UUID") or type_.startswith("ENUM"):
        return _text_column(source, label, name)
    if type_ == '"NULL"':
        return Column(name, "dropped", reason="every cell is empty")
    return Column(name, "dropped", reason=f"type {source.types[name]} is neither number, date nor text")


def _text_column(source: Source, label: Label, name: str) -> Column:
    """Read text as booleans, numbers or dates where nine in ten cells allow it, else as categories.

    A column of few values whose unreadable cells are often the same is one of codes, and so of categories.
    """
    value = f"CAST({identifier(name)} AS VARCHAR)"
    readings: list[tuple[Kind, str]] = [
        ("boolean", _boolean(value)),
        ("number", _finite(f"TRY_CAST({value} AS DOUBLE)")),
        ("date", _date(f"TRY_CAST({value} AS TIMESTAMP)")),
        *(("date", f"TRY_STRPTIME({value}, {literal(form)})") for form in DATE_FORMATS),
    ]
    counted = ", ".join(f"count({sql})" for _, sql in readings)
    filled, distinct, *read = source.one(
        f"SELECT count({value}), count(DISTINCT {value}), {counted} FROM source WHERE {label.sql} IS NOT NULL"
    )
    for (kind, sql), cells in zip(readings, read, strict=True):
        if filled and cells >= (filled if kind == "boolean" else MOSTLY * filled):
            if distinct <= CODES and _repeats(source, label, value, sql) > REPEATED * filled:
                break
            return _checked(source, label, name, kind, sql)
    if distinct > UNIQUE_VALUES and distinct > UNIQUE_SHARE * filled:
        return Column(
            name,
            "dropped",
            reason=f"nearly every cell differs ({distinct} values in {filled} cells): an id or free text",
        )
    return _checked(source, label, name, "category", value)


def _repeats(source: Source, label: Label, value: str, sql: str) -> int:
    """Rows of the most frequent cell that does not read as `sql`: `5+` among counts is a code, not a slip."""
    (most,) = source.one(
        f"SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM source WHERE {label.sql} IS NOT NULL"
        f" AND {value} IS NOT NULL AND {sql} IS NULL GROUP BY {value})"
    )
    return int(most)


def _checked(source: Source, label: Label, name: str, kind: Kind, sql: str) -> Column:
    """The column read as `sql`, unless that is empty, constant or a row number; with its unreadable cells."""
    where = f"FROM source WHERE {label.sql} IS NOT NULL"
    rows, filled, read, distinct, low, high = source.one(
        f"SELECT count(*), count({identifier(name)}), count({sql}), count(DISTINCT {sql}), min({sql}), max({sql})"
        f" {where}"
    )
    if not read:
        return Column(name, "dropped", reason="every cell is empty")
    if distinct == 1 and read == rows:
        return Column(name, "dropped", reason=f"every cell is {low}")
    if kind == "number" and distinct == rows == high - low + 1 and low in (0, 1):
        return Column(name, "dropped", reason="it numbers the rows")
    bad_cells = source.connection.execute(
        f"SELECT {ROW}, CAST({identifier(name)} AS VARCHAR) {where}"
        f" AND {identifier(name)} IS NOT NULL AND {sql} IS NULL ORDER BY {ROW} LIMIT {SHOWN}"
    ).fetchall()
    has_hours = kind == "date" and bool(source.one(f"SELECT bool_or({sql} <> date_trunc('day', {sql})) {where}")[0])
    return Column(name, kind, sql, "", rows - filled, filled - read, tuple(bad_cells), has_hours)


def _finite(number: str) -> str:
    return f"CASE WHEN abs({number}) <= {LARGEST} THEN {number} END"


def _date(moment: str) -> str:
    return f"CASE WHEN isfinite({moment}) THEN {moment} END"


def _boolean(value: str) -> str:
    cases = " ".join(f"WHEN {literal(word)} THEN {number}" for word, number in BOOLEAN_WORDS.items())
    return f"CASE lower({value}) {cases} END"
