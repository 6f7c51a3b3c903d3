"""Confidence intervals by resampling households: the household is the unit, whatever the number of weeks it is in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Resamples:
    """How often each household is drawn in each resample, and which household each row is.

    counts: float64 (resamples, households). household: int (n,), of each row; a household has a row for each week.
    """

    counts: F64
    household: npt.NDArray[np.intp]

    def means(self, values: F64) -> F64:
        """Mean of values (n,) in each resample, (resamples,): rows of a household come and go together."""
        households = self.counts.shape[1]
        total = np.bincount(self.household, values, households)
        rows = np.bincount(self.household, minlength=households)
        means: F64 = (self.counts @ total) / (self.counts @ rows)
        return means

    def interval(self, values: F64) -> tuple[float, float]:
        """The 95 % percentile interval of the mean of values (n,)."""
        low, high = np.percentile(self.means(values), (2.5, 97.5))
        return float(low), float(high)

    def ratio_interval(self, values: F64, base: F64) -> tuple[float, float]:
        """The 95 % percentile interval of mean(values) / mean(base), both (n,); base is taken as 10⁻⁶ at least."""
        low, high = np.percentile(self.means(values) / np.maximum(self.means(base), 1e-6), (2.5, 97.5))
        return float(low), float(high)


def resample(users: npt.NDArray[np.integer], resamples: int, seed: int) -> Resamples:
    """Draw households with replacement, as many as there are; users (n,) names each row's."""
    names, household = np.unique(users, return_inverse=True)
    rng = np.random.default_rng(seed)
    chances = np.full(len(names), 1 / len(names))
    return Resamples(rng.multinomial(len(names), chances, size=resamples).astype(np.float64), household)
