"""Logistic regression on the same inputs, to hold the network against."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from training import metrics
from training.encoding import Encoding
from training.shards import Block, Split, concatenate

MAX_ROWS = 200_000


def logistic_regression(encoding: Encoding, train: Split, test: Split, seed: int) -> dict[str, float]:
    """Metrics on `test` of a logistic regression fitted on a sample of at most about 200,000 rows of `train`.

    Numbers are normalized as for the network, missing ones marked; categories are one column each.
    """
    rng = np.random.default_rng(seed)
    keep = min(1.0, MAX_ROWS / len(train))
    sample = concatenate([block.take(np.flatnonzero(rng.random(len(block)) < keep)) for block in train.blocks()])
    model = LogisticRegression(max_iter=1000).fit(design(encoding, sample), sample.label, sample.weight)
    scored = [(model.decision_function(design(encoding, b)), b.label, b.weight) for b in test.blocks()]
    logit, label, weight = (np.concatenate(column) for column in zip(*scored, strict=True))
    return metrics.evaluate(label, logit, weight, seed)


def design(encoding: Encoding, block: Block) -> Any:
    """The block's inputs as a sparse matrix (n, F + I + one a category)."""
    parts = [sparse.csr_matrix(encoding.normalization.apply(block.numeric))]
    index = encoding.vocabulary.encode(block.categorical)
    rows = np.arange(len(block))
    for j, size in enumerate(encoding.vocabulary.sizes):
        ones = np.ones(len(block), np.float32)
        parts.append(sparse.csr_matrix((ones, (rows, index[:, j])), (len(block), size)))
    return sparse.hstack(parts, format="csr")
