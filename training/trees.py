"""Gradient-boosted trees (LightGBM) on the model's rows: what the network is held against, and a teacher of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from training.encoding import SMALLEST, Encoding
from training.shards import Block

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
CATEGORIES = 400
"""A category column is given as such up to this many values; a larger one only overfits."""

LARGEST_SEED = 2**31


@dataclass(frozen=True)
class Growth:
    """How to grow trees.

    objective: `lambdarank` or `binary`. leaves: of a tree. rounds: trees at most. least: rows of a leaf. features:
    share of the columns that a tree sees. patience: trees without gain on validation after which growing stops. step:
    the largest of a leaf's answers before the rate, 0 for any. Rows of which some were sampled at a thousandth of the
    others' rate need a bound: they begin far from their truth, where steps without one overshoot.
    """

    objective: Literal["lambdarank", "binary"] = "binary"
    leaves: int = 63
    learning_rate: float = 0.08
    rounds: int = 600
    least: int = 200
    features: float = 0.7
    patience: int = 30
    step: float = 0.0

    def grow(
        self,
        train: Block,
        validation: Block,
        encoding: Encoding,
        seed: int,
        lists: tuple[int, int] = (0, 0),
        grown: Callable[[int], None] = lambda trees: None,
    ) -> Grown:
        """Grow with early stopping on validation.

        lists: rows of a list in the two blocks, for `lambdarank`. grown: told the number of trees after each.
        """
        small = tuple(j for j, size in enumerate(encoding.vocabulary.sizes) if size <= CATEGORIES)
        numbers = int(varying(encoding).sum())
        rate = float(np.clip(train.label.mean(), 1 / len(train), 1 - 1 / len(train)))
        base = math.log(rate / (1 - rate))
        ranking = self.objective == "lambdarank"
        center = float(train.offset.mean())

        def dataset(block: Block, length: int, reference: lgb.Dataset | None = None) -> lgb.Dataset:
            return lgb.Dataset(
                _inputs(block, encoding, small),
                block.label,
                weight=None if (block.weight == 1).all() else block.weight,
                group=[length] * (len(block) // length) if ranking else None,
                init_score=None if ranking else base + block.offset - center,
                reference=reference,
                categorical_feature=list(range(numbers, numbers + len(small))),
            )

        first = dataset(train, lists[0])
        parameters = {
            "objective": self.objective,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.least,
            "feature_fraction": self.features,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambdarank_truncation_level": 20,
            "eval_at": [10],
            "max_delta_step": self.step,
            "seed": seed % LARGEST_SEED,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        calls = [lgb.early_stopping(self.patience, verbose=False), lambda at: grown(at.iteration + 1)]
        booster = lgb.train(parameters, first, self.rounds, [dataset(validation, lists[1], first)], callbacks=calls)
        return Grown(booster, encoding, small, 0.0 if ranking else base - center)


@dataclass(frozen=True)
class Grown:
    """A fitted booster."""

    booster: lgb.Booster
    encoding: Encoding
    small: tuple[int, ...]
    base: float

    @property
    def has_grown(self) -> bool:
        """Whether any tree splits its rows; if none does, all rows have one score."""
        return bool(self.booster.feature_importance("split").any())

    def score(self, block: Block) -> F64:
        """Scores (n,): log-odds in the population that was not sampled where the objective is log loss."""
        raw: F64 = self.booster.predict(_inputs(block, self.encoding, self.small), raw_score=True)
        return raw + self.base

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What `Grown.of` makes it of again."""
        text = np.frombuffer(self.booster.model_to_string().encode(), np.uint8)
        return {"booster": text, "small": np.array(self.small, np.int64), "base": np.array(self.base)}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], encoding: Encoding) -> Grown:
        """The booster that was kept as `arrays`."""
        booster = lgb.Booster(model_str=arrays["booster"].tobytes().decode())
        return cls(booster, encoding, tuple(arrays["small"].tolist()), float(arrays["base"]))


def varying(encoding: Encoding) -> npt.NDArray[np.bool_]:
    """Which numeric columns (F,) the encoding does not take for constant; the others say nothing."""
    found: npt.NDArray[np.bool_] = encoding.normalization.rate > SMALLEST
    return found


def width(encoding: Encoding) -> int:
    """Columns that trees are given."""
    return int(varying(encoding).sum()) + sum(size <= CATEGORIES for size in encoding.vocabulary.sizes)


def _inputs(block: Block, encoding: Encoding, small: tuple[int, ...]) -> F32:
    """Numbers, and codes of the small categories behind them."""
    there = varying(encoding)
    out: F32 = np.empty((len(block), int(there.sum()) + len(small)), np.float32)
    out[:, : out.shape[1] - len(small)] = block.numeric[:, there]
    out[:, out.shape[1] - len(small) :] = encoding.vocabulary.encode(block.categorical)[:, list(small)]
    return out
