"""Small seeded datasets in the shape of the training shards, with a truth to be learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.shards import Columns


def write_dataset(
    root: Path,
    columns: Columns,
    rows: tuple[int, int, int] = (6000, 2000, 2000),
    keep_negatives: float = 1.0,
    seed: int = 0,
    base: float = -1.5,
) -> Path:
    """Write train, validation and test below `root`; negatives of the first two are kept at `keep_negatives`."""
    rng = np.random.default_rng(seed)
    for split, n in zip(("train", "validation", "test"), rows, strict=True):
        rate = 1.0 if split == "test" else keep_negatives
        table = _table(columns, n, rng, rate, base)
        (root / split).mkdir(parents=True)
        pq.write_table(table, root / split / "part-0.parquet", row_group_size=1000)
    return root


def _table(columns: Columns, n: int, rng: np.random.Generator, rate: float, base: float) -> pa.Table:
    numeric = rng.normal(size=(n, len(columns.numeric))).astype(np.float32)
    codes = rng.integers(0, 5, (n, len(columns.categorical)))
    truth = np.full(n, base, np.float64)
    if columns.numeric:
        truth += 1.2 * numeric[:, 0] + 0.8 * np.abs(numeric[:, -1])
    if columns.categorical:
        truth += 0.9 * (codes[:, 0] == 3) - 0.7 * (codes[:, 0] == 1)
    label = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(np.int8)
    kept = (label == 1) | (rng.random(n) < rate)
    numeric[rng.random(numeric.shape) < 0.05] = np.nan
    strings = columns.categorical_type == "string"
    names = np.array(["", "red", "green", "blue", "grey"], object)
    keys = np.array([0, 11, 22, 33, 44], np.int64) * 10**15
    return pa.table(
        {
            "label": label[kept],
            "offset": np.full(kept.sum(), -np.log(rate), np.float32),
            "time": np.arange(n)[kept] + 1_500_000_000,
            **{columns.prefix + c: numeric[kept, j] for j, c in enumerate(columns.numeric)},
            **{
                columns.prefix + c: pa.array((names if strings else keys)[codes[kept, j]])
                for j, c in enumerate(columns.categorical)
            },
        }
    )
