"""Weekly snapshots of every feature view: Parquet files that Feast reads, one a view and cutoff."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import ibis
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from feature_repo import schema
from feature_repo.files import read_whole, rows_of
from feature_repo.paths import DataPaths, pattern, write_json
from feature_repo.snapshots import WRITTEN, fingerprint, others, read_written, snapshot_path
from shoprank.errors import UserError
from training.features.history import user_history
from training.features.inputs import ITEM_ATTRIBUTES, USER_ATTRIBUTES, Inputs, keyed
from training.features.items import item_features
from training.features.users import user_features
from training.held import held
from training.ingested import events_pattern
from training.memory import bounded

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class View:
    """How one Feast view's rows are computed and typed."""

    name: str
    entity: str
    expression: Callable[[Inputs], Table]
    columns: dict[str, str]


VIEWS = (
    View(
        "user_features",
        "user_id",
        user_features,
        {
            **{f.name: "float32" for f in schema.USER_NUMBERS},
            **{f.name: "int64" for f in (*schema.USER_TIMES, *schema.USER_KEYS)},
        },
    ),
    View(
        "user_history",
        "user_id",
        user_history,
        {
            schema.affinity_column(level, feature): f"array<{dtype}>"
            for level in schema.LEVELS
            for features, dtype in (
                ((schema.AFFINITY_KEYS, *schema.AFFINITY_TIMES), "int64"),
                (schema.AFFINITY_NUMBERS, "float32"),
            )
            for feature in features
        },
    ),
    View(
        "item_features",
        "item_id",
        item_features,
        {
            **{f.name: "float32" for f in schema.ITEM_NUMBERS},
            **{f.name: "int64" for f in (*schema.ITEM_TIMES, *schema.ITEM_KEYS)},
        },
    ),
)


def weekly_cutoffs(first: datetime, last: datetime) -> list[datetime]:
    """Cutoffs from `last` back to `first` in steps of seven days, ascending."""
    return [last - WEEK * n for n in range((last - first) // WEEK, -1, -1)]


def write_snapshots(
    paths: DataPaths,
    cutoffs: Sequence[datetime],
    memory_limit: str = "1500MB",
    threads: int | None = None,
) -> Iterator[Path]:
    """Write the snapshot of every view at each cutoff (naive UTC), yielding each file when it is there.

    A file whose events have not changed since is left as it is. Each is written whole or not at all. In the end those
    of other events or cutoffs are removed: who takes the newest at a time must not meet them.
    Raises UserError where nothing was ingested, or the memory limit is no size or too small, and Conflict while another
    job writes there.
    """
    for file in (paths.items, paths.users, paths.quality):
        if not file.is_file():
            raise UserError(f"{file}: no such file; run `shoprank ingest` first")
    with bounded(memory_limit), held(paths.root):
        yield from _snapshots(paths, cutoffs, memory_limit, threads)


def _snapshots(paths: DataPaths, cutoffs: Sequence[datetime], memory_limit: str, threads: int | None) -> Iterator[Path]:
    made_of = fingerprint(paths)
    connection = _connect(paths, memory_limit, threads)
    events = connection.read_parquet(events_pattern(paths), table_name="events", hive_partitioning=False)
    items = ibis.memtable(keyed(read_whole(paths.items), ["item_id", "item_key"], ITEM_ATTRIBUTES))
    users = ibis.memtable(keyed(read_whole(paths.users), ["user_id"], USER_ATTRIBUTES))
    promotions = _promotions(connection, paths)
    written = read_written(paths)
    for cutoff in cutoffs:
        inputs = Inputs.before(cutoff, events, items, users, promotions)
        for view in VIEWS:
            path = snapshot_path(paths, view.name, cutoff)
            name = str(path.relative_to(paths.features))
            if not (path.is_file() and written.get(name) == made_of):
                _write(connection, view, inputs, path)
                written[name] = made_of
                write_json(paths.features / WRITTEN, written)
            yield path
    for path in others(paths, cutoffs):
        path.unlink()
        written.pop(str(path.relative_to(paths.features)), None)
    write_json(paths.features / WRITTEN, written)


def _promotions(connection: Backend, paths: DataPaths) -> Table | None:
    """The plan of promotions, or None where it has no rows."""
    if not (paths.promotions.is_file() and rows_of(paths.promotions)):
        return None
    return connection.read_parquet(pattern(paths.promotions), table_name="promotions", hive_partitioning=False)


def snapshot(view: View, inputs: Inputs) -> Table:
    """The view's rows with Feast's columns: entity key, features as typed by the schema, event_timestamp."""
    rows = view.expression(inputs)
    return rows.select(
        rows[view.entity],
        *(rows[name].cast(dtype).name(name) for name, dtype in view.columns.items()),
        event_timestamp=ibis.timestamp(inputs.cutoff.isoformat(sep=" "), timezone="UTC"),
    )


def _connect(paths: DataPaths, memory_limit: str, threads: int | None) -> Backend:
    spill = paths.root / "tmp"
    spill.mkdir(parents=True, exist_ok=True)
    options = {"memory_limit": memory_limit, "temp_directory": str(spill), "preserve_insertion_order": False}
    return ibis.duckdb.connect(**options, **({"threads": threads} if threads else {}))


def _write(connection: Backend, view: View, inputs: Inputs, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp")
    rows = snapshot(view, inputs).order_by(view.entity)
    connection.to_parquet(rows, staged, compression="zstd", row_group_size=8_192)
    staged.replace(path)
