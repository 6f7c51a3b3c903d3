"""LightGBM on the ranker's rows: LambdaRank for the order, log loss for the probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import lightgbm as lgb
import numpy as np

from training.encoding import Encoding
from training.ranking.lists import Lists, varying
from training.retrieval.log import F32, F64
from training.shards import Block

CATEGORIES = 400
"""A category column is given as such up to this many values; a larger one only overfits."""


@dataclass(frozen=True)
class Trees:
    """How to grow them. objective: `lambdarank` or `binary`."""

    objective: Literal["lambdarank", "binary"] = "lambdarank"
    leaves: int = 15
    learning_rate: float = 0.04
    rounds: int = 500
    least: int = 100

    def fit(self, train: Lists, validation: Lists, encoding: Encoding, seed: int) -> Grown:
        """Grow with early stopping on the validation lists."""
        small = tuple(j for j, size in enumerate(encoding.vocabulary.sizes) if size <= CATEGORIES)
        numbers = int(varying(encoding).sum())
        base = float(np.log(train.block.label.mean() / (1 - train.block.label.mean())))
        ranking = self.objective == "lambdarank"
        center = float(train.block.offset.mean())

        def dataset(lists: Lists, reference: lgb.Dataset | None = None) -> lgb.Dataset:
            return lgb.Dataset(
                _inputs(lists.block, encoding, small),
                lists.block.label,
                group=[lists.length] * len(lists) if ranking else None,
                init_score=None if ranking else base + lists.block.offset - center,
                reference=reference,
                categorical_feature=list(range(numbers, numbers + len(small))),
            )

        first = dataset(train)
        parameters = {
            "objective": self.objective,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.least,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambdarank_truncation_level": 20,
            "eval_at": [10],
            "seed": seed,
            "deterministic": True,
            "verbose": -1,
        }
        stop = lgb.early_stopping(80, verbose=False)
        booster = lgb.train(parameters, first, self.rounds, [dataset(validation, first)], callbacks=[stop])
        return Grown(booster, encoding, small, 0.0 if ranking else base - center)


@dataclass(frozen=True)
class Grown:
    """A fitted booster."""

    booster: lgb.Booster
    encoding: Encoding
    small: tuple[int, ...]
    base: float

    def score(self, block: Block) -> F64:
        """Scores (n,): log-odds among all candidates where the objective is log loss."""
        raw: F64 = self.booster.predict(_inputs(block, self.encoding, self.small), raw_score=True)
        return raw + self.base


def _inputs(block: Block, encoding: Encoding, small: tuple[int, ...]) -> F32:
    codes = encoding.vocabulary.encode(block.categorical)[:, list(small)]
    return np.hstack([block.numeric[:, varying(encoding)], codes.astype(np.float32)])
