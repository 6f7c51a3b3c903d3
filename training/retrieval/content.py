"""Candidates by what a product is: its category, brand and the other words of its description."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from training.retrieval.generator import Users
from training.retrieval.log import CONTENT, F32, Catalogue, PurchaseLog, Sparse
from training.retrieval.neighbours import Mixed


def tokens(catalogue: Catalogue) -> Sparse:
    """Items × tokens, each row of norm 1, rare tokens weighing more (TF-IDF); a column's value is one token, and so is
    each word of the subcategory."""
    rows, names = [], []
    for column in CONTENT:
        values = catalogue.content[column].astype(str)
        known = np.flatnonzero(values != "")
        rows.append(known)
        names.append(np.char.add(f"{column}=", values[known]))
    words = [(i, w) for i, text in enumerate(catalogue.content["subcategory"]) for w in set(str(text).lower().split())]
    rows.append(np.array([i for i, _ in words], np.intp))
    names.append(np.array([f"word={w}" for _, w in words], dtype=str))
    vocabulary, columns = np.unique(np.concatenate([n.astype(str) for n in names]), return_inverse=True)
    shape = (catalogue.shape[1], len(vocabulary))
    at = np.concatenate(rows)
    count = np.bincount(columns, minlength=len(vocabulary))
    weight = np.log(shape[0] / count)[columns]
    matrix = sp.csr_matrix((weight.astype(np.float32), (at, columns)), shape)
    norm = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    return (sp.diags(1 / np.maximum(norm, 1e-9)).astype(np.float32) @ matrix).tocsr()


@dataclass(frozen=True)
class Profiles:
    """Vectors of users (users × tokens) and of items (tokens × items); `prior` (N,) is multiplied to the score."""

    users: Sparse
    items: Sparse
    prior: F32

    def score(self, users: Users) -> F32:
        """float32 (n, N)."""
        found: F32 = (self.users[users] @ self.items).toarray()
        found *= self.prior
        return found


@dataclass(frozen=True)
class Content:
    """Products described like those the user bought, among like ones the better sold; new products have a score too.

    half_life: of a purchase's weight, days. blend: power of the popularity of 28 days, plus one.
    """

    half_life: float = 84
    blend: float = 0.5
    source: str = "content"

    def fit(self, log: PurchaseLog) -> Profiles:
        """Profiles of the users."""
        described = tokens(log.catalogue)
        owned = log.matrix(log.halved(self.half_life))
        owned.data = np.log1p(owned.data)
        profile = owned @ described
        prior = (1 + log.popularity(28)) ** self.blend
        return Profiles(profile.tocsr(), described.T.tocsr(), prior.astype(np.float32))


@dataclass(frozen=True)
class CategoryPopularity:
    """What sells in the categories that the user buys from: P(subcategory | user) · P(item | subcategory).

    half_life: of the user's purchases; days: over which items are counted; power: of the user's share, below 1 so that
    small categories are proposed too.
    """

    half_life: float = 84
    days: float = 28
    power: float = 0.7
    level: str = "subcategory"
    source: str = "category"

    def fit(self, log: PurchaseLog) -> Mixed:
        """Shares of categories for users, and of items in categories."""
        codes = log.catalogue.codes(self.level)
        users, items = log.catalogue.shape
        weight = log.halved(self.half_life).astype(np.float32)
        shares = sp.csr_matrix((weight, (log.users, codes[log.items])), (users, int(codes.max()) + 1))
        shares.data **= self.power
        return Mixed(shares, self.within(log), sp.csr_matrix((users, items), dtype=np.float32))

    def within(self, log: PurchaseLog) -> Sparse:
        """P(item | category), categories × items."""
        codes = log.catalogue.codes(self.level)
        levels = int(codes.max()) + 1
        popularity = log.popularity(self.days)
        total = np.bincount(codes, popularity, levels)
        within = popularity / np.maximum(total[codes], 1)
        sold = np.flatnonzero(popularity)
        return sp.csr_matrix((within[sold].astype(np.float32), (codes[sold], sold)), (levels, len(codes)))
