"""What the model is held against, on the same rows and features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from feature_repo.schema import NUMERIC
from training.encoding import Encoding
from training.shards import F32, Block
from training.trees import CATEGORIES, Growth

F64 = npt.NDArray[np.float64]
Scorer = Callable[[Block], F64]
"""Log-odds of buying for each row of a block, in the unsampled population."""


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
    small = [j for j, size in enumerate(rows.encoding.vocabulary.sizes) if size <= CATEGORIES]

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
    return Growth().grow(rows.train, rows.validation, rows.encoding, seed).score


def column(name: str, tie: str = "item_purchases_28d") -> Scorer:
    """A feature as the score, ties broken by another; for ranking alone, since it is no log-odds."""
    first, second = NUMERIC.index(name), NUMERIC.index(tie)

    def score(block: Block) -> F64:
        values = block.numeric[:, [first, second]].astype(np.float64)
        return values[:, 0] + 1e-6 * values[:, 1]

    return score
