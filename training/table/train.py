"""Trains on any flat table with a binary label, from a file to a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoprank.errors import UserError
from training import fit
from training.export import Identity, export_bundle
from training.model import Architecture
from training.settings import Progress, Settings, silent
from training.shards import Split
from training.table.baseline import logistic_regression
from training.table.dataset import SHARES, write_dataset
from training.table.label import Label, read_label
from training.table.profile import Column, copies, profile
from training.table.source import Source, load

STEPS = 3_000
MIN_EPOCHS, MAX_EPOCHS = 6, 60
SMALL_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class TableModel:
    """What training on a table made.

    bundle: its directory. metrics and baseline: of the network and of logistic regression on the test rows.
    notes: a line for each thing a person should know of the data, in the order of its columns, and of the training.
    """

    bundle: Path
    label: Label
    columns: tuple[Column, ...]
    notes: tuple[str, ...]
    metrics: dict[str, float]
    baseline: dict[str, float]


def train_table(
    file: Path,
    label: str,
    repository: Path,
    model: str,
    time_column: str | None = None,
    id_columns: Sequence[str] = (),
    positive: str | None = None,
    settings: Callable[[int], Settings] | None = None,
    progress: Progress = silent,
) -> TableModel:
    """Train on `file` (CSV or Parquet) to predict column `label` and write a bundle of kind `table`.

    time_column: split by it instead of at random. id_columns: left out. positive: the label's positive value.
    settings: gives the settings for a number of rows, `settings_for` by default. Raises UserError where the
    file or one of the named columns does not allow it.
    """
    with tempfile.TemporaryDirectory(prefix="shoprank-table-") as scratch:
        folder = Path(scratch)
        progress("read", 0, 1)
        source = load(file, folder)
        with source.connection:
            progress("read", 1, 1)
            for name in (*id_columns, *((time_column,) if time_column else ())):
                source.require(name)
                if name == label:
                    raise UserError(f"{file}: {name!r} is the label and cannot be a time or id column too")
            chosen = (settings or settings_for)(source.rows)
            target = read_label(source, label, positive)
            columns = _profiled(source, target, id_columns, time_column, progress)
            notes = notes_on(source, target, columns, time_column)
            names = write_dataset(source, target, columns, folder / "dataset", time_column, chosen.seed)
        trained = fit.train(folder / "dataset", names, chosen, progress)
        train, test = (Split(folder / "dataset" / split, names) for split in ("train", "test"))
        progress("baseline", 0, 1)
        baseline = logistic_regression(trained.encoding, train, test, chosen.seed)
        progress("baseline", 1, 1)
        facts = _facts(file, target, columns, time_column, notes, baseline)
        bundle = export_bundle(trained, test, repository, Identity(model, "table", notes=facts), progress)
    return TableModel(bundle, target, tuple(columns), (*notes, *trained.notes), trained.metrics, baseline)


def settings_for(rows: int) -> Settings:
    """Settings for a table of so many rows: the fewer there are, the smaller the batch and the stronger the
    penalty.
    """
    batch = min(4096, max(32, rows // 100))
    epochs = min(MAX_EPOCHS, max(MIN_EPOCHS, STEPS * batch // rows))
    small = rows < SMALL_ROWS
    return Settings(
        architecture=Architecture(dropout=0.3 if small else 0.1, l2=1e-4 if small else 0.0),
        epochs=epochs,
        batch_size=batch,
        learning_rate=1e-3,
        patience=max(2, epochs // 6),
        teacher=0.0,
        min_count=max(3, min(20, rows // 1000)),
    )


def _profiled(
    source: Source, label: Label, ids: Sequence[str], time_column: str | None, progress: Progress
) -> list[Column]:
    done = 0

    def seen(columns: int) -> None:
        nonlocal done
        done += columns
        progress("profile", done, len(source.types))

    columns = profile(source, label, ids, seen)
    for column in columns:
        if column.name == time_column and column.kind not in ("date", "number"):
            what = column.reason or f"it is read as a {column.kind}"
            raise UserError(f"{source.file}: time column {time_column!r} holds no dates or numbers: {what}")
    return columns


def notes_on(source: Source, label: Label, columns: Sequence[Column], time_column: str | None) -> list[str]:
    """What a person should know of the data, a line each."""
    notes = [f"label {label.column!r}: {label.positive!r} is 1 and {label.negative!r} is 0"]
    if label.nulls:
        notes.append(f"label {label.column!r}: {label.nulls} rows have none and were left out")
    for column in columns:
        if column.kind == "dropped":
            notes.append(f"column {column.name!r} dropped: {column.reason}")
        if column.bad:
            cells = ", ".join(f"{source.place(row)}: {cell!r}" for row, cell in column.bad_cells)
            more = ", …" if column.bad > len(column.bad_cells) else ""
            notes.append(
                f"column {column.name!r}: {column.bad} cells are no {column.kind} and count as missing ({cells}{more})"
            )
        if column.name == time_column and column.missing + column.bad:
            notes.append(f"time column {column.name!r}: {column.missing + column.bad} rows have none and were left out")
    for name in copies(source, label, columns):
        notes.append(f"warning: column {name!r} tells the label exactly; if it is a copy, leave it out (--id-columns)")
    return notes


def _facts(
    file: Path,
    label: Label,
    columns: Sequence[Column],
    time_column: str | None,
    notes: Sequence[str],
    baseline: dict[str, float],
) -> dict[str, Any]:
    """What the manifest says of the table."""
    return {
        "table": {
            "file": file.name,
            "label": {"column": label.column, "mapping": label.mapping, "rows_without": label.nulls},
            "split": {"by": time_column or "random, stratified", **SHARES},
            "columns": {c.name: c.kind for c in columns},
            "notes": list(notes),
        },
        "baseline": {"logistic_regression": baseline},
    }
