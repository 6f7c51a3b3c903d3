"""What the model is held against, on the same rows and features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from feature_repo.schema import NUMERIC
from training.encoding import Encoding
from training.shards import F32, Block

F64 = npt.NDArray[np.float64]
Scorer = Callable[[Block], F64]
"""Log-odds of buying for each row of a block, in the unsampled population."""

TREE_CATEGORIES = 400
"""LightGBM is given a category column as such up to this many values; a larger one only overfits it."""


@dataclass(frozen=True)
class Rows:
    """Encoded rows a baseline learns from: candidates only, so that every offset is the same."""

    train: Block
    validation: Block
    encoding: Encoding


def logistic_regression(rows: Rows, seed: int, sample: int = 400_000) -> Scorer:
    """Logistic regression on the model's own normalized inputs, categories one-hot where there are at most 400.

    Fitted on a random sample of the training rows: more change nothing, since it has a few hundred weights.
    """
    rng = np.random.default_rng(seed)
    small = [j for j, size in enumerate(rows.encoding.vocabulary.sizes) if size <= TREE_CATEGORIES]

    def inputs(block: Block) -> tuple[F32, npt.NDArray[np.int64]]:
        return (
            rows.encoding.normalization.apply(block.numeric),
            rows.encoding.vocabulary.encode(block.categorical)[:, small],
        )

    chosen = rows.train.take(rng.permutation(len(rows.train))[:sample])
    numeric, categorical = inputs(chosen)
    onehot = OneHotEncoder(handle_unknown="ignore", dtype=np.float32, sparse_output=False).fit(categorical)
    model = LogisticRegression(max_iter=200, C=1.0)
    model.fit(np.hstack([numeric, onehot.transform(categorical)]), chosen.label)

    def score(block: Block) -> F64:
        numeric, categorical = inputs(block)
        z: F64 = model.decision_function(np.hstack([numeric, onehot.transform(categorical)]))
        return z - float(chosen.offset[0])

    return score


def lightgbm(rows: Rows, seed: int) -> Scorer:
    """Gradient-boosted trees with early stopping on validation log loss."""
    small = [j for j, size in enumerate(rows.encoding.vocabulary.sizes) if size <= TREE_CATEGORIES]

    def inputs(block: Block) -> F32:
        codes = rows.encoding.vocabulary.encode(block.categorical)[:, small]
        return np.hstack([block.numeric, codes.astype(np.float32)])

    base = _log_odds(rows.train.label)
    offset = float(rows.train.offset[0])
    options = {"categorical_feature": list(range(len(NUMERIC), len(NUMERIC) + len(small)))}
    train = lgb.Dataset(inputs(rows.train), rows.train.label, init_score=np.full(len(rows.train), base), **options)
    validation = lgb.Dataset(
        inputs(rows.validation),
        rows.validation.label,
        init_score=base + rows.validation.offset - offset,
        reference=train,
    )
    parameters = {
        "objective": "binary",
        "learning_rate": 0.08,
        "num_leaves": 63,
        "min_data_in_leaf": 200,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": seed,
        "verbose": -1,
    }
    booster = lgb.train(
        parameters, train, 600, valid_sets=[validation], callbacks=[lgb.early_stopping(30, verbose=False)]
    )

    def score(block: Block) -> F64:
        z: F64 = booster.predict(inputs(block), raw_score=True)
        return z + base - offset

    return score


def column(name: str, tie: str = "item_purchases_28d") -> Scorer:
    """A feature as the score, ties broken by another; for ranking alone, since it is no log-odds."""
    first, second = NUMERIC.index(name), NUMERIC.index(tie)

    def score(block: Block) -> F64:
        values = block.numeric[:, [first, second]].astype(np.float64)
        return values[:, 0] + 1e-6 * values[:, 1]

    return score


def _log_odds(label: F32) -> float:
    rate = float(label.mean())
    return float(np.log(rate / (1 - rate)))
