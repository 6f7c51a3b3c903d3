"""What a model's inputs and scores looked like when it was trained, and how far others are from it.

Every feature is cut into bins, numbers at deciles of the reference, categories by key; a share of rows falls into each.
Training fits a reference and puts it into the bundle, a server counts what it serves into the same bins, and the
population stability index tells how far the two are apart.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shoprank.errors import BundleError

if TYPE_CHECKING:
    from feature_repo.transforms import ModelInput

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

EDGES = 9
MISSING = EDGES + 1
NUMERIC_BINS = EDGES + 2
"""Ten bins of values between at most nine edges, and one of missing values."""
TOP = 20
REST, UNSEEN, NO_KEY = TOP, TOP + 1, TOP + 2
CATEGORICAL_BINS = TOP + 3
"""The most frequent keys, all others the model knows, those it does not, and none."""
LEAST_SHARE = 1e-4
"""What a share of 0 counts as: its logarithm would be infinite."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows, or shares of them, in each bin: numeric (F, 11), categorical (C, 23), score (11,); int64 or float64."""

    numeric: npt.NDArray[Any]
    categorical: npt.NDArray[Any]
    score: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of F numbers, C categories and the score.

    edges: float32 (F, 9), ascending, infinite beyond a feature's last. top: int64 (C, 20), 0 beyond the last. known:
    for each category the keys the model knows, int64, ascending. score: float32 (9,), edges of the probability.
    """

    edges: F32
    top: I64
    known: tuple[I64, ...]
    score: F32

    def numeric_bins(self, numeric: F32) -> I64:
        """The bin of each value of rows (n, F): how many edges lie below it."""
        bins: I64 = (numeric[:, :, None] > self.edges).sum(axis=2)
        bins[np.isnan(numeric)] = MISSING
        return bins

    def categorical_bins(self, categorical: I64) -> I64:
        """The bin of each key of rows (n, C)."""
        same = categorical[:, :, None] == self.top
        bins = np.where(same.any(axis=2), same.argmax(axis=2), REST)
        for j, known in enumerate(self.known):
            bins[~np.isin(categorical[:, j], known) & (bins[:, j] == REST), j] = UNSEEN
        bins[categorical == 0] = NO_KEY
        return bins

    def count(self, inputs: ModelInput, probability: F32, weight: F64 | None = None) -> Counts:
        """How many rows, of n with probabilities (n,), fall into each bin; weight: float64 (n,), of each row."""
        score = (probability[:, None] > self.score).sum(axis=1)
        return Counts(
            numeric=_tally(self.numeric_bins(inputs.numeric), NUMERIC_BINS, weight),
            categorical=_tally(self.categorical_bins(inputs.categorical), CATEGORICAL_BINS, weight),
            score=_tally(score[:, None], NUMERIC_BINS, weight)[0],
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """Bins, the shares of rows the model was measured on in each, and how many rows those were.

    names: numeric and categorical features, in order. steady: whether each of those may be expected to stay as it was,
    bool (F + C,): the time of the year may not.
    """

    names: tuple[str, ...]
    bins: Bins
    shares: Counts
    steady: npt.NDArray[np.bool_]
    rows: int

    def write(self, path: Path) -> None:
        """Write it as a NumPy archive that loads without pickle."""
        known = self.bins.known
        np.savez(
            path,
            names=np.array(self.names, np.str_),
            edges=self.bins.edges,
            top=self.bins.top,
            known=np.concatenate([np.zeros(0, np.int64), *known]),
            known_counts=np.array([len(keys) for keys in known], np.int64),
            score_edges=self.bins.score,
            numeric=self.shares.numeric,
            categorical=self.shares.categorical,
            score=self.shares.score,
            steady=self.steady,
            rows=np.int64(self.rows),
        )

    @classmethod
    def read(cls, path: Path) -> Reference:
        """Raises BundleError where the file is not such an archive."""
        try:
            with np.load(path) as found:
                known = np.split(found["known"], np.cumsum(found["known_counts"])[:-1])
                reference = cls(
                    names=tuple(found["names"].tolist()),
                    bins=Bins(found["edges"], found["top"], tuple(known), found["score_edges"]),
                    shares=Counts(found["numeric"], found["categorical"], found["score"]),
                    steady=found["steady"],
                    rows=int(found["rows"]),
                )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path}: no reference distribution: {error}") from error
        count = len(reference.names)
        numeric, categorical = reference.shares.numeric, reference.shares.categorical
        if (
            numeric.shape != (len(reference.bins.edges), NUMERIC_BINS)
            or categorical.shape != (len(reference.bins.top), CATEGORICAL_BINS)
            or len(numeric) + len(categorical) != count
            or reference.steady.shape != (count,)
        ):
            raise BundleError(f"{path}: no reference distribution: its arrays do not fit one another")
        return reference

    def drift(self, counts: Counts) -> tuple[dict[str, float], float]:
        """Population stability index of each steady feature, by name, and of the score, of rows counted elsewhere."""
        indices = np.concatenate(
            [
                stability_index(self.shares.numeric, shares(counts.numeric)),
                stability_index(self.shares.categorical, shares(counts.categorical)),
            ]
        )
        features = {name: float(indices[j]) for j, name in enumerate(self.names) if self.steady[j]}
        return features, float(stability_index(self.shares.score, shares(counts.score)))


def shares(counts: npt.NDArray[Any]) -> F64:
    """Counts (..., bins) as shares of their sum; 0 where there are none."""
    found: F64 = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    return found


def stability_index(expected: F64, actual: F64) -> Any:
    """Population stability index Σ (actual − expected)·ln(actual / expected) over the last axis of shares.

    Siddiqi, Credit Risk Scorecards (2006), also for the customary reading: below 0.1 little has changed, above 0.25
    much has. A share below 0.0001 counts as that. Without any change it is near (bins − 1)·(1/n + 1/m) for samples of
    n and m rows (Yurdakul and Naranjo, Statistical properties of the population stability index, 2020).

    >>> round(float(stability_index(np.array([0.5, 0.5]), np.array([0.7, 0.3]))), 3)
    0.169
    """
    e, a = np.maximum(expected, LEAST_SHARE), np.maximum(actual, LEAST_SHARE)
    return ((a - e) * np.log(a / e)).sum(axis=-1)


def edges_of(values: Sequence[float] | npt.NDArray[Any], weight: F64) -> F32:
    """Edges, float32 (9,), at the deciles of values (n,) with weights (n,); NaN is left out.

    A value that takes up more than a bin gets one to itself, so that less of it shows as well as more.
    """
    found = np.asarray(values, np.float32)
    there = ~np.isnan(found)
    found, weight = found[there], weight[there]
    out = np.full(EDGES, np.inf, np.float32)
    if not len(found):
        return out
    order = np.argsort(found, kind="stable")
    cumulative = np.cumsum(weight[order])
    places = np.searchsorted(cumulative, np.linspace(0, 1, EDGES + 2)[1:-1] * cumulative[-1])
    deciles, times = np.unique(found[order][np.minimum(places, len(found) - 1)], return_counts=True)
    below = np.nextafter(deciles[times > 1], np.float32(-np.inf))
    edges = np.unique(np.concatenate([deciles, below]))
    out[: len(edges)] = edges
    return out


def _tally(bins: I64, count: int, weight: F64 | None) -> npt.NDArray[Any]:
    """Rows of bins (n, F), 0 ≤ bin < count, in each bin of each column, (F, count)."""
    width = bins.shape[1]
    at = (bins + np.arange(width) * count).ravel()
    weights = None if weight is None else np.repeat(weight, width)
    return np.bincount(at, weights, width * count).reshape(width, count)
