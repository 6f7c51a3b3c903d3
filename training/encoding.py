"""What the model knows about its input columns: how numbers are normalized and which categories it has seen.

Both are fitted in one pass over the training shards and become constants of the exported graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from training.shards import F32, Columns, Split

MISSING, UNSEEN, FIRST = 0, 1, 2
CLIP = 5.0
HEAVY_TAIL = 8.0
SAMPLE_ROWS = 200_000
MAX_VOCABULARY = 50_000
SMALLEST = 1e-30
"""The narrowest range of a column whose reciprocal float32 still holds with room to spare."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """Normalization of F numeric columns, all float32 (F,), in one formula:

    y = log(max((x − start)·rate, 1)) − log(max((−x − start)·mirror, 1)), z = clip((y − mean) / std, ±5); NaN
    gives 0.

    A column with light tails has its range on [1, 2] before the logarithm, which then hardly bends it; a
    column that reaches beyond 8 standard deviations grows like log1p of x over its typical size; such a
    column with values on both sides of zero has a `mirror` (0 elsewhere) and so a signed log1p.
    indicators: int64 (I,), columns whose being missing is itself an input, one for each distinct pattern.
    """

    start: F32
    rate: F32
    mirror: F32
    mean: F32
    std: F32
    indicators: npt.NDArray[np.int64]

    @property
    def signed(self) -> bool:
        """Whether any column needs the mirrored logarithm."""
        return bool(self.mirror.any())

    def apply(self, numeric: F32) -> F32:
        """Normalized columns (n, F) with the missing indicators (n, I) to their right, float32."""
        missing = np.isnan(numeric)
        z = np.clip((self._logarithm(numeric) - self.mean) / self.std, -CLIP, CLIP)
        z[missing] = 0.0
        return np.concatenate([z, missing[:, self.indicators]], axis=1, dtype=np.float32)

    def _logarithm(self, x: F32) -> F32:
        with np.errstate(over="ignore", invalid="ignore"):
            y: F32 = np.log(np.maximum((x - self.start) * self.rate, 1))
            if self.signed:
                y = y - np.log(np.maximum((-x - self.start) * self.mirror, 1))
        return y


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Categories known to the model, one Arrow array a column; index 0 is missing, 1 unseen, 2.. these."""

    values: tuple[pa.Array, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of indices of each column, the two special ones included."""
        return tuple(len(values) + FIRST for values in self.values)

    def encode(self, categorical: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Indices (n, C) of categories (n, C)."""
        out = np.empty(categorical.shape, np.int64)
        for j, values in enumerate(self.values):
            column = pa.array(categorical[:, j], values.type)
            found = pc.index_in(column, value_set=values).fill_null(UNSEEN - FIRST)
            out[:, j] = found.to_numpy() + FIRST
            out[pc.equal(column, _missing(values.type)).to_numpy(zero_copy_only=False), j] = MISSING
        return out


@dataclass(frozen=True, slots=True)
class Encoding:
    """Everything between raw columns and the first dense layer."""

    columns: Columns
    normalization: Normalization
    vocabulary: Vocabulary


def _missing(kind: pa.DataType) -> pa.Scalar:
    return pa.scalar("" if pa.types.is_string(kind) else 0, kind)


def fit_encoding(
    split: Split,
    rng: np.random.Generator,
    min_count: int = 20,
    sample_rows: int = SAMPLE_ROWS,
    seen: Callable[[int], None] = lambda rows: None,
) -> Encoding:
    """Fit normalization on a random sample of at most about `sample_rows` rows, and vocabulary on all of
    them.

    A category met fewer than `min_count` times counts as unseen. `seen` is told the number of rows after each
    block.
    """
    counts: list[Counter[Any]] = [Counter() for _ in split.columns.categorical]
    sample: list[F32] = []
    keep = min(1.0, sample_rows / len(split))
    for block in split.blocks():
        sample.append(block.numeric[rng.random(len(block)) < keep])
        for j, counter in enumerate(counts):
            for entry in pc.value_counts(pa.array(block.categorical[:, j])):
                counter[entry["values"].as_py()] += entry["counts"].as_py()
        seen(len(block))
    return Encoding(
        columns=split.columns,
        normalization=fit_normalization(np.concatenate(sample)),
        vocabulary=fit_vocabulary(counts, split.columns, min_count),
    )


def fit_vocabulary(counts: list[Counter[Any]], columns: Columns, min_count: int) -> Vocabulary:
    """Categories of each column met at least `min_count` times, most frequent first, at most 50,000."""
    kind = pa.string() if columns.categorical_type == "string" else pa.int64()
    nothing = _missing(kind).as_py()
    kept = [
        [
            value
            for value, count in sorted(c.items(), key=lambda e: (-e[1], e[0]))
            if count >= min_count and value != nothing
        ]
        for c in counts
    ]
    return Vocabulary(tuple(pa.array(values[:MAX_VOCABULARY], kind) for values in kept))


def fit_normalization(sample: F32) -> Normalization:
    """Fit on `sample`, float32 (n, F) with NaN for missing. Constant and empty columns come out as 0, whatever
    they hold later: their weights are never trained.
    """
    width = sample.shape[1]
    start, rate, mirror = np.zeros(width, np.float32), np.ones(width, np.float32), np.zeros(width, np.float32)
    mean, std = np.zeros(width, np.float32), np.ones(width, np.float32)
    for j in range(width):
        start[j], rate[j], mirror[j] = _shape(sample[:, j])
    unscaled = Normalization(start, rate, mirror, mean, std, np.zeros(0, np.int64))
    for j, y in enumerate(unscaled._logarithm(sample).T):
        y = y[np.isfinite(y)].astype(np.float64)
        if len(y):
            mean[j], std[j] = y.mean(), y.std() if y.std() > 1e-6 else 1.0
    return Normalization(start, rate, mirror, mean, std, _distinct(np.isnan(sample)))


def _shape(column: F32) -> tuple[float, float, float]:
    """Start, rate and mirror of one column."""
    x = column[np.isfinite(column)].astype(np.float64)
    if not len(x) or x.max() - x.min() < SMALLEST:
        return 0.0, SMALLEST, 0.0
    low, high = x.min(), x.max()
    heavy = max(high - x.mean(), x.mean() - low) > HEAVY_TAIL * x.std()
    if heavy and low < 0 < high:
        typical = max(float(np.median(np.abs(x[x != 0]))), SMALLEST)
        return -typical, 1 / typical, 1 / typical
    size = max(float(np.median(x[x > low] - low)), SMALLEST) if heavy else float(high - low)
    return float(low - size), 1 / size, 0.0


def _distinct(missing: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Columns that are sometimes missing, the first of those that are always missing together."""
    patterns: dict[bytes, int] = {}
    for j in np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0)):
        patterns.setdefault(np.packbits(missing[:, j]).tobytes(), int(j))
    return np.array(sorted(patterns.values()), np.int64)
