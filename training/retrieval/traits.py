"""What sells to those like a user nobody has seen buy: popularity by what is told of users, such as their age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from feature_repo.files import read_whole
from feature_repo.paths import DataPaths
from feature_repo.schema import USER_TRAITS
from training.retrieval.generator import Users
from training.retrieval.log import F32, I32, PurchaseLog


@dataclass(frozen=True)
class Traits:
    """Traits of U users: codes int32 (U, A), from 0 over all traits together, -1 where a user's is unknown.

    names: of the A traits. groups: trait and value of each of the G codes.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[str, str], ...]
    codes: I32 = field(repr=False)

    @property
    def known(self) -> I32:
        """Positions of the users of whom any trait is known."""
        return np.flatnonzero((self.codes >= 0).any(axis=1)).astype(np.int32)

    def only(self, name: str) -> Traits:
        """The same with one trait."""
        at = self.names.index(name)
        return replace(self, names=(name,), codes=self.codes[:, at : at + 1])


def read_traits(paths: DataPaths, user_ids: Sequence[str], names: Sequence[str] = USER_TRAITS) -> Traits:
    """Traits of users by id, those that the users' table has a column for."""
    table = read_whole(paths.users)
    there = [name for name in names if name in table.column_names]
    rows = {str(row["user_id"]): row for row in table.select(["user_id", *there]).to_pylist()}
    values = [[rows.get(str(user), {}).get(name) for name in there] for user in user_ids]
    groups = sorted({(name, str(v)) for row in values for name, v in zip(there, row, strict=True) if v is not None})
    code = {group: i for i, group in enumerate(groups)}
    codes = [[-1 if v is None else code[name, str(v)] for name, v in zip(there, row, strict=True)] for row in values]
    return Traits(tuple(there), tuple(groups), np.array(codes, np.int32).reshape(len(user_ids), len(there)))


@dataclass(frozen=True)
class Lifted:
    """Log popularity (N,), and what each group adds to it, lifts (G, N); codes (U, A): groups of users, -1 for none."""

    base: F32
    lifts: F32
    codes: I32

    def score(self, users: Users) -> F32:
        """float32 (n, N), above 0 for what sold."""
        scores = np.repeat(self.base[None], len(users), axis=0)
        for codes in self.codes[users].T:
            told = codes >= 0
            scores[told] += self.lifts[codes[told]]
        found: F32 = np.exp(scores)
        return found


@dataclass(frozen=True)
class TraitPopularity:
    """Items by the purchases of `days` days, times how much more those of the user's traits buy of each.

    The factor of a trait's value is what its users bought of the item so far over what would be their share of it,
    with `prior` purchases added to both, to the power of `power`: traits go together, so that the whole factors of
    several would count the same twice. Who has no trait known gets what sells best.
    """

    traits: Traits
    days: float = 28
    prior: float = 30
    power: float = 0.3
    source: str = "traits"

    def fit(self, log: PurchaseLog) -> Lifted:
        """Count."""
        return Lifted(
            np.log(np.maximum(log.popularity(self.days), 1e-6)).astype(np.float32), self.lifts(log), self.traits.codes
        )

    def lifts(self, log: PurchaseLog) -> F32:
        """What each group adds to the logarithm of an item's popularity, float32 (groups, items)."""
        codes, items = self.traits.codes, log.catalogue.shape[1]
        lifts = np.zeros((len(self.traits.groups), items), np.float32)
        for trait in range(codes.shape[1]):
            of = codes[log.users, trait]
            told = of >= 0
            everybody = np.bincount(log.items[told], minlength=items)
            for group in np.unique(of[told]):
                own = of == group
                expected = everybody * (own.sum() / told.sum())
                bought = np.bincount(log.items[own], minlength=items)
                lifts[group] = self.power * np.log((bought + self.prior) / (expected + self.prior))
        return lifts
