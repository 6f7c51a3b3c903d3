"""Metrics of slates by household, as arrays: what `ranking.ranking_metrics` averages, and what goes beyond accuracy.

Protocol: a slate is made from what was known at the cutoff; truth is the distinct items the household bought in the
7 days after it; households that bought nothing do not count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Sparse = Any


def member(rows: npt.NDArray[np.integer], items: I32, matrix: Sparse) -> Bools:
    """Whether items (n, k) are set in rows (n,) of a CSR matrix, (n, k); a negative item never is."""
    found = np.zeros(items.shape, np.bool_)
    for j, row in enumerate(rows):
        found[j] = np.isin(items[j], matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]])
    return found


def accuracy(hits: Bools, wanted: npt.NDArray[np.integer], ks: tuple[int, ...] = (10, 20)) -> dict[str, F64]:
    """`recall@k`, `ndcg@k`, `mrr@k` and `hit_rate@k` of each household, (n,).

    hits: (n, at least the largest k), whether each place of the slate was bought. wanted: (n,), how many distinct
    items were, all above 0. With gain 1 for a hit, NDCG@k is the sum over hits of 1 / log2(position + 1), over its
    largest value for that many items (Järvelin & Kekäläinen 2002).
    """
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discount)
    first = np.where(hits.any(1), hits.argmax(1), hits.shape[1])
    found: dict[str, F64] = {}
    for k in ks:
        found[f"recall@{k}"] = hits[:, :k].sum(1) / wanted
        found[f"ndcg@{k}"] = hits[:, :k] @ discount[:k] / ideal[np.minimum(wanted, k) - 1]
        found[f"mrr@{k}"] = np.where(first < k, 1 / (first + 1), 0.0)
        found[f"hit_rate@{k}"] = (first < k).astype(np.float64)
    return found


def beyond_accuracy(
    slates: I32, repeats: Bools, popularity: npt.NDArray[np.floating], category: I32, sold: int
) -> dict[str, float]:
    """What slates (n, k) are made of.

    repeats: (n, k), whether the household had bought the item before. popularity: (N,), purchases of 28 days.
    category: (N,) codes. sold: how many items sold in 28 days.

    `coverage`: distinct items shown over `sold`. `novelty`: mean of −log2 of an item's share of purchases, each
    counted once more, in bits. `diversity`: mean share of a slate's pairs that are of different categories.
    `popularity_bias`: the mean popularity of what is shown over that of what is bought. `repeat_share` and
    `explore_share` add up to 1.
    """
    k = slates.shape[1]
    share = (popularity + 1) / (popularity.sum() + len(popularity))
    codes = category[slates]
    same = np.array([(np.bincount(row) ** 2).sum() for row in codes]) - k
    bought = (popularity**2).sum() / max(popularity.sum(), 1)
    return {
        "coverage": len(np.unique(slates)) / sold,
        "novelty": float(-np.log2(share[slates]).mean()),
        "diversity": float(1 - (same / (k * (k - 1))).mean()),
        "popularity_bias": float(popularity[slates].mean() / bought),
        "repeat_share": float(repeats.mean()),
        "explore_share": float(1 - repeats.mean()),
    }
