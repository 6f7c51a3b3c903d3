"""Piecewise-linear encoding of numbers: how far a value has come through each of its column's quantile bins.

After Gorishniy, Rubachev, Babenko (On Embeddings for Numerical Features in Tabular Deep Learning, 2022): with it a
network bends at the thresholds a tree would split at, whatever the column's distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from training.model import Normalize
from training.retrieval.log import F32, I64


@dataclass(frozen=True)
class Bins:
    """P bins of numeric columns: column int64 (P,), start and rate float32 (P,), rate one over the bin's width."""

    column: I64
    start: F32
    rate: F32

    @classmethod
    def of(cls, sample: F32, count: int, among: npt.NDArray[np.bool_]) -> Bins:
        """At most `count` bins of equal mass for each column of `sample` (n, F), NaN for missing, that is `among` (F,).

        Values that are met often make fewer bins; a column of one value has none.
        """
        columns, starts, rates = [], [], []
        for j in np.flatnonzero(among):
            values = sample[:, j][np.isfinite(sample[:, j])].astype(np.float64)
            edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1))) if len(values) else np.zeros(1)
            widths = np.diff(edges)
            wide = widths > 1e-6 * max(np.abs(edges).max(), 1e-6)
            columns += [j] * int(wide.sum())
            starts += edges[:-1][wide].tolist()
            rates += (1 / widths[wide]).tolist()
        return cls(np.array(columns, np.int64), np.array(starts, np.float32), np.array(rates, np.float32))

    def apply(self, numeric: F32) -> F32:
        """How far through each bin, float32 (n, P): 0 before it, 1 beyond, 0 where missing."""
        found: F32 = np.clip((numeric[:, self.column] - self.start) * self.rate, 0, 1)
        return np.nan_to_num(found, nan=0.0)


@keras.saving.register_keras_serializable("shoprank")
class Piecewise(layers.Layer):  # type: ignore[misc]
    """`Bins.apply` beside the normalized numbers: (n, F) with NaN to (n, F + I + P)."""

    def __init__(self, bins: Bins, normalize: Normalize, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.bins = bins
        self.normalize = normalize

    def call(self, numeric: Any) -> Any:
        x = tf.gather(numeric, self.bins.column, axis=1)
        y = tf.clip_by_value((x - self.bins.start[None]) * self.bins.rate[None], np.float32(0), np.float32(1))
        y = tf.where(tf.math.is_nan(y), np.float32(0), y)
        return tf.concat([self.normalize(numeric), y], axis=1)
