"""Small seeded tables with a label to be learned, as CSV and as Parquet."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.table.label import Label, read_label
from training.table.profile import Column, profile
from training.table.source import Source, load

Table = dict[str, list[Any]]


def mixed(rows: int = 900, seed: int = 0) -> Table:
    """Numbers, categories, booleans and dates, some of each missing (None), and what a model should not see."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, rows).round(1)
    colour = rng.choice(["red", "green", "blue"], rows)
    joined = np.datetime64("2024-01-01") + rng.integers(0, 300, rows)
    log_odds = (age - 40) / 6 + 1.5 * (colour == "red")
    bought = rng.random(rows) < 1 / (1 + np.exp(-log_odds))
    return {
        "customer_id": [f"c{i:05}" for i in rng.permutation(rows)],
        "age": _with_gaps(age.tolist(), rng),
        "spent": rng.lognormal(3, 2, rows).round(2).tolist(),
        "colour": _with_gaps(colour.tolist(), rng),
        "vip": _with_gaps((rng.random(rows) < 0.3).tolist(), rng),
        "joined": _with_gaps(joined.tolist(), rng),
        "plan": ["basic"] * rows,
        "remark": [None] * rows,
        "bought": ["yes" if b else "no" for b in bought],
    }


def _with_gaps(values: list[Any], rng: np.random.Generator) -> list[Any]:
    return [None if gap else value for value, gap in zip(values, rng.random(len(values)) < 0.05, strict=True)]


def write_csv(
    path: Path, table: Mapping[str, Sequence[Any]], missing: Sequence[str] = ("", "n/a", "NULL", "?")
) -> Path:
    """Write the table, its missing cells in turn as each of the words in `missing`."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for i, row in enumerate(zip(*table.values(), strict=True)):
            writer.writerow([missing[i % len(missing)] if cell is None else cell for cell in row])
    return path


def write_parquet(path: Path, table: Mapping[str, Sequence[Any]]) -> Path:
    """Write the table with a type a column."""
    pq.write_table(pa.table(dict(table)), path)
    return path


def loaded(folder: Path, table: Mapping[str, Sequence[Any]]) -> tuple[Source, Label, dict[str, Column]]:
    """The table through a CSV file as far as its profile: source, label `bought` and columns by name."""
    return profiled(write_csv(folder / "table.csv", table))


def profiled(file: Path) -> tuple[Source, Label, dict[str, Column]]:
    """A file as far as its profile: source, label `bought` and columns by name."""
    source = load(file, file.parent)
    label = read_label(source, "bought")
    return source, label, {column.name: column for column in profile(source, label)}
