"""A dataset split on disk: a folder of Parquet shards, streamed into arrays piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo import schema
from shoprank.errors import UserError

F32 = npt.NDArray[np.float32]
BLOCK_ROWS = 65_536
POOL_ROWS = 262_144


@dataclass(frozen=True, slots=True)
class Columns:
    """The model's input columns in order; categories are `int64` keys (0 is missing) or `string` ("" is
    missing).

    prefix: what their names begin with in the shards, where they might else be taken for `label` or `weight`.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    categorical_type: Literal["int64", "string"] = "int64"
    prefix: str = ""

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of all columns as they stand in the shards, numeric before categorical."""
        return tuple(self.prefix + name for name in (*self.numeric, *self.categorical))


RANKING = Columns(schema.NUMERIC, schema.CATEGORICAL)


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a split.

    numeric: float32 (n, F), NaN for missing. categorical: (n, C), int64 keys or str objects.
    label: float32 (n,), 0 or 1, or between where a teacher has softened it.
    offset: float32 (n,), −log of the keep rate of sampled negatives.
    weight: float32 (n,), importance of each row, 1 where the shards carry none.
    """

    numeric: F32
    categorical: npt.NDArray[Any]
    label: F32
    offset: F32
    weight: F32

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: npt.NDArray[np.intp] | slice) -> Block:
        """The rows at `index`, in that order."""
        return Block(
            self.numeric[index],
            self.categorical[index],
            self.label[index],
            self.offset[index],
            self.weight[index],
        )


def concatenate(blocks: Sequence[Block]) -> Block:
    """One block with the rows of all, in order."""
    return Block(
        np.concatenate([b.numeric for b in blocks]),
        np.concatenate([b.categorical for b in blocks]),
        np.concatenate([b.label for b in blocks]),
        np.concatenate([b.offset for b in blocks]),
        np.concatenate([b.weight for b in blocks]),
    )


def rebatch(blocks: Iterable[Block], rows: int) -> Iterator[Block]:
    """The rows of `blocks` in order, in blocks of exactly `rows` but for the last."""
    pending: list[Block] = []
    for block in blocks:
        pending.append(block)
        if sum(map(len, pending)) < rows:
            continue
        whole = concatenate(pending) if len(pending) > 1 else block
        end = len(whole) // rows * rows
        for at in range(0, end, rows):
            yield whole.take(slice(at, at + rows))
        pending = [whole.take(slice(end, None))] if end < len(whole) else []
    if pending:
        yield concatenate(pending)


class Split:
    """One split (train, validation or test): `folder/*.parquet`.

    Columns of a shard: `label` (0 or 1), optionally `offset` (default 0), `weight` (default 1) and `time`
    (seconds since 1970 UTC), one number column a numeric feature and one int64 or string column a category.
    Raises UserError where the folder holds no shard, no row, or a shard lacks a column.
    """

    def __init__(self, folder: Path, columns: Columns) -> None:
        self.folder = folder
        self.columns = columns
        self.files = sorted(folder.glob("*.parquet"))
        if not self.files:
            raise UserError(f"{folder}: no Parquet shards; build the dataset first")
        self._groups: list[tuple[Path, int]] = []
        self._optional: dict[Path, frozenset[str]] = {}
        self.rows = 0
        for file in self.files:
            self._register(file)
        if not self.rows:
            raise UserError(f"{folder}: the shards hold no rows")

    def _register(self, file: Path) -> None:
        try:
            metadata = pq.read_metadata(file)
        except pa.ArrowInvalid as error:
            raise UserError(f"{file}: not a Parquet file: {error}") from error
        names = frozenset(metadata.schema.to_arrow_schema().names)
        for name in ("label", *self.columns.stored):
            if name not in names:
                raise UserError(f"{file}: no column {name!r}")
        self._optional[file] = names & {"offset", "weight", "time"}
        self._groups.extend((file, group) for group in range(metadata.num_row_groups))
        self.rows += metadata.num_rows

    def __len__(self) -> int:
        return self.rows

    def blocks(self, rng: np.random.Generator | None = None) -> Iterator[Block]:
        """Every row in blocks of at most 65,536; with `rng` the row groups come in random order."""
        for number in range(self.groups) if rng is None else rng.permutation(self.groups).tolist():
            yield from self.group(number)

    @property
    def groups(self) -> int:
        """Row groups of all shards."""
        return len(self._groups)

    def group(self, number: int) -> Iterator[Block]:
        """The rows of one row group, counted over all shards, in blocks of at most 65,536."""
        file, group = self._groups[number]
        names = ["label", *sorted(self._optional[file] - {"time"}), *self.columns.stored]
        with pq.ParquetFile(file) as reader:
            for batch in reader.iter_batches(BLOCK_ROWS, row_groups=[group], columns=names):
                if batch.num_rows:
                    yield _block(batch, self.columns, file)

    def shuffled(self, rng: np.random.Generator, pool_rows: int = POOL_ROWS) -> Iterator[Block]:
        """Every row once: row groups in random order, then rows within pools of about `pool_rows`."""
        pool: list[Block] = []
        for block in self.blocks(rng):
            pool.append(block)
            if sum(map(len, pool)) >= pool_rows:
                yield _permuted(pool, rng)
                pool = []
        if pool:
            yield _permuted(pool, rng)

    def targets(self) -> Iterator[tuple[F32, F32, F32]]:
        """Label, offset and weight (n,) of every row, a row group at a time, without reading the features."""
        bare = Columns((), ())
        for file, group in self._groups:
            with pq.ParquetFile(file) as reader:
                names = ["label", *sorted(self._optional[file] - {"time"})]
                for batch in reader.iter_batches(BLOCK_ROWS, row_groups=[group], columns=names):
                    block = _block(batch, bare, file)
                    yield block.label, block.offset, block.weight

    def time_range(self) -> tuple[int, int] | None:
        """Smallest and largest `time`, seconds since 1970 UTC; None where the shards carry none."""
        bounds: list[int] = []
        for file in self.files:
            if "time" in self._optional[file]:
                times = pq.read_table(file, columns=["time"])["time"].drop_null().to_numpy()
                bounds.extend((int(times.min()), int(times.max())) if len(times) else ())
        return (min(bounds), max(bounds)) if bounds else None


def _block(batch: pa.RecordBatch, columns: Columns, file: Path) -> Block:
    n, names = batch.num_rows, batch.schema.names
    numeric = np.empty((n, len(columns.numeric)), np.float32)
    for j, name in enumerate(columns.numeric):
        numeric[:, j] = _floats(batch.column(columns.prefix + name))
    label = _floats(batch.column("label"))
    bad = label[~np.isin(label, (0, 1))]
    if len(bad):
        raise UserError(f"{file}: column 'label' must be 0 or 1, found {bad[0]}")
    return Block(
        numeric=numeric,
        categorical=_categories(batch, columns),
        label=label,
        offset=_floats(batch.column("offset")) if "offset" in names else np.zeros(n, np.float32),
        weight=_floats(batch.column("weight")) if "weight" in names else np.ones(n, np.float32),
    )


def _categories(batch: pa.RecordBatch, columns: Columns) -> npt.NDArray[Any]:
    """Categories (n, C), each column contiguous."""
    strings = columns.categorical_type == "string"
    out = np.empty((batch.num_rows, len(columns.categorical)), object if strings else np.int64, order="F")
    for j, name in enumerate(columns.categorical):
        out[:, j] = batch.column(columns.prefix + name).fill_null("" if strings else 0).to_numpy(zero_copy_only=False)
    return out


def _floats(column: pa.Array) -> F32:
    values: F32 = column.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values


def _permuted(pool: list[Block], rng: np.random.Generator) -> Block:
    block = concatenate(pool)
    return block.take(rng.permutation(len(block)))
