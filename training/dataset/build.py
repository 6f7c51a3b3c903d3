"""Writes the training set: one Parquet shard a cutoff, split by time."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import warnings
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore

from feature_repo import schema
from feature_repo.files import read_whole, rows_of
from feature_repo.parent import die_with
from feature_repo.paths import DataPaths, write_json
from feature_repo.schema import key_of
from feature_repo.snapshots import STAMP, fingerprint
from feature_repo.store import offline_store
from feature_repo.transforms import ModelInput, UserRow, assemble
from shoprank.errors import UserError
from training.dataset.labels import Purchases, epoch
from training.dataset.point_in_time import catalogue_at, users_at
from training.dataset.sampling import NATURAL, Pairs, Sampling, draw
from training.held import held
from training.schedule import HORIZON, WEEK, Schedule

ROWS_A_BATCH = 50_000
DESCRIPTION = "dataset.json"
RUN_DATASET = "run `shoprank dataset` first"

SHARD_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("time", pa.int64()),
        ("label", pa.int8()),
        ("stratum", pa.int8()),
        ("offset", pa.float32()),
        *((name, pa.float32()) for name in schema.NUMERIC),
        *((name, pa.int64()) for name in schema.CATEGORICAL),
    ]
)


@dataclass(frozen=True)
class Shard:
    """One shard to write: its split and cutoff, how it is sampled, and how long after the cutoff requests may fall."""

    split: str
    cutoff: datetime
    sampling: Sampling
    spread: timedelta

    def path(self, root: Path) -> Path:
        """Its file below the dataset's folder."""
        return root / self.split / f"part-{self.cutoff:{STAMP}}.parquet"


Job = tuple[DataPaths, Shard, Path, int]
"""A shard to write: of which data, into which staging folder, and the seed."""


def shards(schedule: Schedule, sampling: Sampling) -> list[Shard]:
    """The shards of a schedule. Training requests fall anywhere in the week after their snapshot, as served ones
    do, unless their label window would then reach into validation; later splits ask at the cutoff itself."""
    limit = schedule.validation[0] if schedule.validation else schedule.test
    train = [Shard("train", c, sampling, min(WEEK, limit - HORIZON - c)) for c in schedule.train]
    validation = [
        Shard("validation", c, Sampling(max(sampling.candidate_rate, 0.25), sampling.rest, cold=0.0), timedelta(0))
        for c in schedule.validation
    ]
    return [*train, *validation, Shard("test", schedule.test, NATURAL, timedelta(0))]


def dataset_key(paths: DataPaths, schedule: Schedule, sampling: Sampling, seed: int) -> str:
    """What a dataset is made of, as one hash (hex): it changes with the events, the schedule, the features, the
    sampling or the seed."""
    events = json.loads(paths.quality.read_text())
    parts = [events, asdict(schedule), asdict(sampling), seed, schema.schema_hash()]
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()


def built_key(paths: DataPaths) -> str:
    """The key of the dataset there is; empty where there is none, or it cannot be read."""
    return str(_description(paths).get("key", ""))


def require_built(paths: DataPaths) -> None:
    """Raise UserError unless the dataset there is, is of the events, the schedule and the features as they are now."""
    path = paths.dataset / DESCRIPTION
    if not path.is_file():
        raise UserError(f"{path}: no such file; {RUN_DATASET}")
    schedule, now, found = Schedule.read(paths), fingerprint(paths), _description(paths)
    try:
        # Where an earlier version built it, the sampling is the default and the features are not told.
        sampling, made_of = Sampling(**found.get("sampling", {})), found.get("features", now)
        key, seed = found["key"], found["seed"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: is damaged; {RUN_DATASET}") from error
    if (key, made_of) != (dataset_key(paths, schedule, sampling, seed), now):
        raise UserError(f"{paths.dataset}: is of other events, weeks or features; {RUN_DATASET}")
    for name, rows in found.get("rows", {}).items():  # an earlier version did not tell them
        if (there := rows_of(paths.dataset / name, RUN_DATASET)) != rows:
            raise UserError(f"{paths.dataset / name}: has {there:,} rows, and {rows:,} were written; {RUN_DATASET}")


def _description(paths: DataPaths) -> dict[str, Any]:
    """What the dataset there is says of itself; nothing where there is none, or it cannot be read."""
    path = paths.dataset / DESCRIPTION
    try:
        return dict(json.loads(path.read_text())) if path.is_file() else {}
    except (ValueError, TypeError):
        return {}


def build(
    paths: DataPaths,
    schedule: Schedule,
    sampling: Sampling | None = None,
    seed: int = 0,
    processes: int = 1,
) -> Generator[tuple[Path, int]]:
    """Write every shard, yielding each file with its number of rows. The earlier dataset stays until all are there.

    processes: shards written at once, each by a process of its own, of about 1.2 GB. Raises FeatureStoreError where
    the feature repository is not applied to `paths`, Conflict while another job writes there, and UserError where the
    snapshots are not of the schedule and the events, or no row could be made.
    """
    offline_store(paths)
    schedule.require_snapshots(paths)
    sampling = sampling or Sampling()
    staged = paths.dataset.with_name(paths.dataset.name + ".tmp")
    with held(paths.root):
        shutil.rmtree(staged, ignore_errors=True)
        try:
            yield from _build(paths, schedule, sampling, seed, processes, staged)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _build(
    paths: DataPaths, schedule: Schedule, sampling: Sampling, seed: int, processes: int, staged: Path
) -> Generator[tuple[Path, int]]:
    key, made_of = dataset_key(paths, schedule, sampling, seed), fingerprint(paths)
    jobs = [(paths, shard, staged, seed) for shard in shards(schedule, sampling)]
    written: dict[str, int] = {}
    for path, rows in _written(jobs, processes):
        written[str(path.relative_to(paths.dataset))] = rows
        yield path, rows
    if not any(written.values()):
        raise UserError(f"{paths.features}: no features of the users of {paths.events}; run `shoprank features` first")
    how = {"key": key, "seed": seed, "sampling": asdict(sampling), "rows": written}
    write_json(staged / DESCRIPTION, {**how, "features": made_of, "schema_hash": schema.schema_hash()})
    shutil.rmtree(paths.dataset, ignore_errors=True)
    staged.replace(paths.dataset)


def _written(jobs: list[Job], processes: int) -> Iterator[tuple[Path, int]]:
    if processes == 1:
        yield from map(_write, jobs)
    else:
        with get_context("spawn").Pool(processes, initializer=_prepare_process) as pool:
            yield from pool.imap(_write, jobs)


def _prepare_process() -> None:
    """Leave interrupts to the parent, with which this process ends, and keep Feast's warnings off the terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if (parent := parent_process()) is not None and parent.pid is not None:
        die_with(parent.pid)
    warnings.simplefilter("ignore")


def _write(job: Job) -> tuple[Path, int]:
    """Write one shard below the staging folder; the file it will be, and its number of rows."""
    paths, shard, staged, seed = job
    users = sorted(read_whole(paths.users, ["user_id"])["user_id"].to_pylist())
    items = read_whole(paths.items, ["item_id"])["item_id"].to_pylist()
    path = shard.path(staged)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with pq.ParquetWriter(path, SHARD_SCHEMA, compression="zstd", compression_level=1) as writer:
        for batch in _batches(offline_store(paths), paths, shard, users, items, seed):
            writer.write_batch(batch)
            rows += batch.num_rows
    return shard.path(paths.dataset), rows


def _batches(
    store: FeatureStore, paths: DataPaths, shard: Shard, users: list[str], items: list[str], seed: int
) -> Iterator[pa.RecordBatch]:
    rng = np.random.default_rng([seed, epoch(shard.cutoff)])
    later = rng.integers(0, int(shard.spread.total_seconds()) + 1, len(users)) * (rng.random(len(users)) < 0.5)
    times = epoch(shard.cutoff) + later
    rows = users_at(store, users, [datetime.fromtimestamp(t, UTC).replace(tzinfo=None) for t in times])
    catalogue = catalogue_at(store, items, shard.cutoff)
    ids, popular = pa.array(catalogue.ids, pa.string()), catalogue.popular(shard.sampling.popular)
    purchases = Purchases(paths, shard.cutoff, shard.cutoff + shard.spread + HORIZON)
    drawn: list[_Drawn] = []
    for user_id, time, row in zip(users, times.tolist(), rows, strict=True):
        if not row.as_of:
            continue
        bought = catalogue.positions(purchases.keys(user_id, time, HORIZON))
        views = [row, UserRow.unknown()] if rng.random() < shard.sampling.cold else [row]
        for view in views:
            one = np.random.default_rng([seed, time, key_of(user_id)])
            pairs = draw(view, bought, catalogue, popular, shard.sampling, one)
            drawn.append(_Drawn(user_id, time, pairs, assemble(view, catalogue.rows.take(pairs.items), time)))
        if sum(len(d.pairs.items) for d in drawn) >= ROWS_A_BATCH:
            yield _batch(drawn, ids)
            drawn = []
    if drawn:
        yield _batch(drawn, ids)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The rows of a user at a time."""

    user_id: str
    time: int
    pairs: Pairs
    inputs: ModelInput


def _batch(drawn: list[_Drawn], ids: pa.StringArray) -> pa.RecordBatch:
    counts = [len(d.pairs.items) for d in drawn]
    items, label, stratum, offset = (
        np.concatenate([getattr(d.pairs, name) for d in drawn]) for name in ("items", "label", "stratum", "offset")
    )
    numeric = np.concatenate([d.inputs.numeric for d in drawn])
    categorical = np.concatenate([d.inputs.categorical for d in drawn])
    return pa.record_batch(
        [
            pa.array([d.user_id for d in drawn], pa.string()).take(np.repeat(np.arange(len(drawn)), counts)),
            ids.take(items),
            pa.array(np.repeat([d.time for d in drawn], counts), pa.int64()),
            pa.array(label),
            pa.array(stratum),
            pa.array(offset),
            *(pa.array(column) for column in numeric.T),
            *(pa.array(column) for column in categorical.T),
        ],
        schema=SHARD_SCHEMA,
    )
