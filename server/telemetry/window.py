"""Counts of sampled rows over a sliding window of time, in shared memory.

The window is a ring of parts. A part belongs to a stretch of time and to a version of the model: the bins are of its
reference. It is emptied when it comes to be of another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo import schema
from feature_repo.reference import CATEGORICAL_BINS, NUMERIC_BINS, Counts

PARTS = 12
NUMERIC, CATEGORICAL = len(schema.NUMERIC), len(schema.CATEGORICAL)
ENDS = np.cumsum([NUMERIC * NUMERIC_BINS, CATEGORICAL * CATEGORICAL_BINS])
CELLS = int(ENDS[-1]) + NUMERIC_BINS


@dataclass(frozen=True, slots=True)
class Window:
    """One slot's ring. heads: int64 (12, 2), stretch of time and version of each part; counts: uint32 (12, CELLS)."""

    heads: npt.NDArray[np.int64]
    counts: npt.NDArray[np.uint32]

    @classmethod
    def private(cls) -> Window:
        """A window of this process alone."""
        return cls(np.full((PARTS, 2), -1, np.int64), np.zeros((PARTS, CELLS), np.uint32))

    def add(self, counts: Counts, stretch: int, version: int) -> None:
        """Count rows of a version in a stretch of time, numbered as they follow one another. For one thread alone."""
        part = stretch % PARTS
        if self.heads[part, 0] != stretch or self.heads[part, 1] != version:
            self.heads[part] = -1
            self.counts[part] = 0
            self.heads[part] = stretch, version
        flat = (counts.numeric.ravel(), counts.categorical.ravel(), counts.score)
        self.counts[part] += np.concatenate(flat).astype(np.uint32)

    def total(self, stretch: int, version: int) -> npt.NDArray[np.int64]:
        """Counts of the version in the window that ends with the stretch, int64 (CELLS,)."""
        age = stretch - self.heads[:, 0]
        chosen = (age >= 0) & (age < PARTS) & (self.heads[:, 1] == version)
        total: npt.NDArray[np.int64] = self.counts[chosen].sum(axis=0, dtype=np.int64)
        return total


def unpacked(total: npt.NDArray[np.int64]) -> Counts:
    """Counts by feature of cells (CELLS,)."""
    numeric, categorical, score = np.split(total, ENDS)
    return Counts(numeric.reshape(-1, NUMERIC_BINS), categorical.reshape(-1, CATEGORICAL_BINS), score)
