"""Turns a profiled table into train, validation and test shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shoprank.errors import UserError
from training.fit import SPLITS
from training.shards import Columns
from training.sql import identifier, literal
from training.table.label import Label
from training.table.profile import Column
from training.table.source import POSITION, ROW, Source

MIN_ROWS = 100
MIN_CLASS_ROWS = 10
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
ROW_GROUP = 65_536
PREFIX = "column."


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the model: its name, its expression in SQL, and the column it is made from."""

    name: str
    sql: str
    column: str


def inputs(columns: Sequence[Column], time_column: str | None) -> tuple[list[Input], list[Input]]:
    """Numeric and categorical inputs. A date gives days since 1970, its weekday (Monday is 0) and, where its
    cells have one, its hour. The column that splits the table gives neither days nor numbers: those of the
    test rows lie
    beyond all that training sees."""
    numeric: list[Input] = []
    categorical: list[Input] = []
    for column in columns:
        if column.kind == "number" and column.name == time_column:
            continue
        if column.kind in ("number", "boolean"):
            numeric.append(Input(column.name, f"CAST({column.sql} AS FLOAT)", column.name))
        elif column.kind == "category":
            categorical.append(Input(column.name, column.sql, column.name))
        elif column.kind == "date":
            numeric.extend(_date_inputs(column, with_days=column.name != time_column))
    return numeric, categorical


def _date_inputs(column: Column, with_days: bool) -> Iterator[Input]:
    if with_days:
        yield Input(column.name, f"CAST(epoch({column.sql}) / 86400 AS FLOAT)", column.name)
    yield Input(f"{column.name}_weekday", f"CAST(isodow({column.sql}) - 1 AS FLOAT)", column.name)
    if column.has_hours:
        yield Input(f"{column.name}_hour", f"CAST(hour({column.sql}) AS FLOAT)", column.name)


def write_dataset(
    source: Source, label: Label, columns: Sequence[Column], folder: Path, time_column: str | None, seed: int
) -> Columns:
    """Write `folder/{train,validation,test}` and return the model's columns.

    70, 15 and 15 in a hundred rows: in order of `time_column` where it is given, rows of one time staying
    together, else at random within each class. Raises UserError where there is nothing to learn from or too
    little of it.
    """
    numeric, categorical = inputs(columns, time_column)
    every = [*numeric, *categorical]
    _require_inputs(source, every)
    _require_rows(source, label)
    time = next((_seconds(c) for c in columns if c.name == time_column), None)
    _place(source, label, time, seed)
    features = ", ".join(f"{i.sql} AS {identifier(PREFIX + i.name)}" for i in every)
    seconds = f", CAST({time} AS BIGINT) AS time" if time else ""
    low = 0.0
    for split in SPLITS:
        high = low + SHARES[split] if split != "test" else 2
        rows = f"FROM placed WHERE {POSITION} >= {low} AND {POSITION} < {high}"
        _require_classes(source, label, split, rows, time_column)
        path = folder / split / "part-0.parquet"
        path.parent.mkdir(parents=True)
        source.connection.execute(
            f"COPY (SELECT CAST({label.sql} AS TINYINT) AS label{seconds}, {features} {rows} ORDER BY {ROW})"
            f" TO {literal(str(path))} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})"
        )
        low = high
    return Columns(tuple(i.name for i in numeric), tuple(i.name for i in categorical), "string", PREFIX)


def _seconds(column: Column) -> str:
    return f"epoch({column.sql})" if column.kind == "date" else column.sql


def _place(source: Source, label: Label, time: str | None, seed: int) -> None:
    """Make the view `placed`: the rows to learn from, each with its place in the order of splitting, 0 to 1."""
    if time:
        position = f"cume_dist() OVER (ORDER BY {time}) - 1e-9"
    else:
        position = (
            f"(row_number() OVER (PARTITION BY {label.sql} ORDER BY hash({ROW} + {seed} * 1000003), {ROW}) - 0.5)"
            f" / count(*) OVER (PARTITION BY {label.sql})"
        )
    source.connection.execute(
        f"CREATE OR REPLACE VIEW placed AS SELECT source.*, {position} AS {POSITION}"
        f" FROM source WHERE {label.sql} IS NOT NULL{f' AND {time} IS NOT NULL' if time else ''}"
    )


def _require_inputs(source: Source, every: Sequence[Input]) -> None:
    if not every:
        raise UserError(f"{source.file}: no column is left to learn from")
    names = Counter(i.name for i in every)
    for name, uses in names.items():
        if uses > 1:
            raise UserError(f"{source.file}: two inputs would be named {name!r}; rename that column")


def _require_rows(source: Source, label: Label) -> None:
    rows, positives = source.one(f"SELECT count({label.sql}), sum({label.sql}) FROM source")
    if rows < MIN_ROWS:
        raise UserError(f"{source.file}: {rows} rows with a label; at least {MIN_ROWS} are needed")
    for value, count in ((label.positive, positives), (label.negative, rows - positives)):
        if count < MIN_CLASS_ROWS:
            raise UserError(
                f"{source.file}: label {label.column!r} is {value!r} in {count} rows;"
                f" at least {MIN_CLASS_ROWS} are needed"
            )


def _require_classes(source: Source, label: Label, split: str, rows: str, time_column: str | None) -> None:
    """A split by time may leave a split empty or with one class; a random one within each class cannot."""
    for value, wanted in label.mapping.items():
        (count,) = source.one(f"SELECT count(*) {rows} AND {label.sql} = {wanted}")
        if not count:
            raise UserError(
                f"{source.file}: split by {time_column!r}, the {split} rows hold no {label.column!r} of {value!r};"
                f" leave out --time-column to split at random"
            )
