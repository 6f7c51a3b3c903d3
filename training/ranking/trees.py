"""LightGBM on the ranker's rows: LambdaRank for the order, log loss for the probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from training.encoding import Encoding
from training.ranking.lists import Lists
from training.trees import Grown, Growth


@dataclass(frozen=True)
class Trees(Growth):
    """How to grow them on lists."""

    objective: Literal["lambdarank", "binary"] = "lambdarank"
    leaves: int = 15
    learning_rate: float = 0.04
    rounds: int = 500
    least: int = 100
    features: float = 0.5
    patience: int = 80

    def fit(self, train: Lists, validation: Lists, encoding: Encoding, seed: int) -> Grown:
        """Grow with early stopping on the validation lists."""
        return self.grow(train.block, validation.block, encoding, seed, (train.length, validation.length))

    def restored(self, arrays: Mapping[str, npt.NDArray[Any]], train: Lists, encoding: Encoding, seed: int) -> Grown:
        """Those that were grown before and kept as `Grown.arrays`."""
        return Grown.of(arrays, encoding)
