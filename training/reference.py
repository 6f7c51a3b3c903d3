"""Fits the reference distribution of a model: its inputs and scores on rows it was not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from feature_repo import schema
from feature_repo.reference import TOP as TOP_KEYS
from feature_repo.reference import Bins, Counts, Reference, edges_of, shares
from feature_repo.transforms import I64, ModelInput
from training import metrics
from training.encoding import Encoding
from training.shards import F32, Block, Split, concatenate

ROWS = 100_000
"""Rows at most: a share of 0.1 is then known to 0.001."""
F64 = npt.NDArray[np.float64]


def fit_reference(
    encoding: Encoding, split: Split, probability: Callable[[Block], F32], seed: int, rows: int = ROWS
) -> Reference:
    """The reference of a random sample of at most about `rows` rows of a split, weighted as in the whole population.

    probability: of a block's rows, (n,). The categories are int64 keys. The split should be the newest and held out:
    scores of rows a model was trained on are too good.
    """
    block = sample(split, rows, np.random.default_rng(seed))
    weight = metrics.natural_weight(block.label, block.offset, block.weight).astype(np.float64)
    columns = encoding.columns
    inputs = ModelInput(block.numeric, np.ascontiguousarray(block.categorical))
    scores = probability(block)
    bins = Bins(
        edges=np.stack([edges_of(column, weight) for column in inputs.numeric.T])
        if columns.numeric
        else np.zeros((0, 9), np.float32),
        top=np.array([top_keys(column, weight) for column in inputs.categorical.T], np.int64).reshape(-1, TOP_KEYS),
        known=tuple(np.sort(values.to_numpy()) for values in encoding.vocabulary.values),
        score=edges_of(scores, weight),
    )
    counts = bins.count(inputs, scores, weight)
    calendar = {feature.name for feature in schema.CONTEXT_NUMBERS}
    names = (*columns.numeric, *columns.categorical)
    return Reference(
        names=names,
        bins=bins,
        shares=Counts(shares(counts.numeric), shares(counts.categorical), shares(counts.score)),
        steady=np.array([name not in calendar for name in names], np.bool_),
        rows=len(block),
    )


def sample(split: Split, rows: int, rng: np.random.Generator) -> Block:
    """A random sample of about so many rows at most; all of a split that has no more."""
    keep = min(1.0, rows / len(split))
    blocks = [block.take(np.flatnonzero(rng.random(len(block)) < keep)) for block in split.blocks()]
    return concatenate(blocks)


def top_keys(column: I64, weight: F64) -> list[int]:
    """The most frequent of keys (n,) with weights (n,), at most 20, and 0 for each that is lacking."""
    keys, places = np.unique(column, return_inverse=True)
    found = Counter(dict(zip(keys.tolist(), np.bincount(places, weight, len(keys)).tolist(), strict=True)))
    found.pop(0, None)
    top = [key for key, _ in found.most_common(TOP_KEYS)]
    return top + [0] * (TOP_KEYS - len(top))
