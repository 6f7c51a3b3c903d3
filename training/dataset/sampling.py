"""Which user × item pairs become rows, and how sampled negatives are made up for.

The population is every user against every item of the catalogue. It falls into two strata: the user's candidates
(what the user bought or looked at before, and the most popular items) and the rest of the catalogue. Positives
are all kept; a stratum's negatives are kept at a known rate. A row carries offset = −log(rate) of its stratum:
the log-odds in the sample are those of the population plus the offset (prior correction, King & Zeng 2001), so a
model fitted with the offset added to its logit answers for the population.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.transforms import F32, UserRow
from training.dataset.point_in_time import Catalogue

Index = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

CANDIDATE, REST = 0, 1


@dataclass(frozen=True)
class Sampling:
    """How negatives are drawn: `candidate_rate` of the candidates, `rest` items of the rest for each user.

    popular: how many of the best-selling items are everyone's candidates. cold: share of the users shown once
    more as if nothing were known of them, so that the model has an answer for a new user.
    """

    candidate_rate: float = 0.1
    rest: int = 15
    popular: int = 200
    cold: float = 0.03


NATURAL = Sampling(candidate_rate=1.0, rest=0, cold=0.0)
"""Every candidate and nothing else: what a ranker is asked in practice, and the test set."""


@dataclass(frozen=True)
class Pairs:
    """The chosen items of one user: catalogue rows (n,), label int8 (n,), stratum int8 (n,), offset float32 (n,)."""

    items: Index
    label: npt.NDArray[np.int8]
    stratum: npt.NDArray[np.int8]
    offset: F32


def candidates(user: UserRow, catalogue: Catalogue, popular: Index) -> Mask:
    """Which of the catalogue's rows are the user's candidates: the item history and the popular items."""
    history = user.history[0].keys
    at = np.minimum(np.searchsorted(catalogue.keys, history), len(catalogue) - 1)
    near = np.zeros(len(catalogue), np.bool_)
    near[at[catalogue.keys[at] == history]] = True
    near[popular] = True
    return near


def draw(
    user: UserRow, bought: Index, catalogue: Catalogue, popular: Index, how: Sampling, rng: np.random.Generator
) -> Pairs:
    """Choose one user's rows; `bought` holds the catalogue rows of the items bought in the label window."""
    near = candidates(user, catalogue, popular)
    kept = np.flatnonzero(near)
    if how.candidate_rate < 1:
        kept = kept[rng.random(len(kept)) < how.candidate_rate]
    far = rng.integers(0, len(catalogue), how.rest)
    chosen, positive = np.zeros((2, len(catalogue)), np.bool_)
    positive[bought] = True
    chosen[kept] = True
    chosen[far[~near[far]]] = True
    chosen[bought if how.rest else bought[near[bought]]] = True
    items = np.flatnonzero(chosen)
    rest_rate = how.rest / len(catalogue) if how.rest else 1.0
    return Pairs(
        items=items,
        label=positive[items].astype(np.int8),
        stratum=np.where(near[items], CANDIDATE, REST).astype(np.int8),
        offset=np.where(near[items], -np.log(how.candidate_rate), -np.log(rest_rate)).astype(np.float32),
    )
