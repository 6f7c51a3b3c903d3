"""The best items of a catalogue by the product of two vectors: exact, or by an inverted file beyond 100,000 items.

The inverted file (Sivic and Zisserman, Video Google, 2003; here Faiss's) sorts items into cells by k-means and looks
into the cells nearest to a query alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import faiss
import numpy as np

from training.retrieval.generator import pieces, top
from training.retrieval.log import F32, I32

EXACT_UP_TO = 100_000
PROBES = 128
"""Cells that are looked into, unless said."""
DEPTH = 500
"""Items of a list, by which a number of cells is chosen."""
FOUND = 0.98
"""Part of the exact lists that the cells looked into are to find."""
FEWEST = 16
ITEMS_A_CELL = 39
"""The fewest items a cell that k-means does not warn of."""


class Index(Protocol):
    """Vectors of N items that can be searched."""

    def search(self, queries: F32, k: int) -> tuple[I32, F32]:
        """The k best of queries (n, d), best first: int32 (n, k) positions, −1 where too few were met, and float32
        (n, k) products."""
        ...


def index_of(vectors: F32) -> Index:
    """The index for vectors (N, d): exact up to 100,000 items."""
    return Exact(vectors) if len(vectors) <= EXACT_UP_TO else Approximate(vectors)


class Exact:
    """One matrix product."""

    def __init__(self, vectors: F32) -> None:
        self.vectors = vectors

    def search(self, queries: F32, k: int) -> tuple[I32, F32]:
        """As `Index.search`; k is at most N."""
        items, products = [], []
        for rows in pieces(np.arange(len(queries))):
            scores = queries[rows] @ self.vectors.T
            best = top(scores, k)
            items.append(best)
            products.append(np.take_along_axis(scores, best, 1))
        return np.concatenate(items), np.concatenate(products)


class Approximate:
    """An inverted file of about √N cells."""

    def __init__(self, vectors: F32) -> None:
        width = vectors.shape[1]
        cells = max(min(2 ** round(np.log2(len(vectors)) / 2), len(vectors) // ITEMS_A_CELL), 1)
        # The index refers to the quantizer without holding it.
        self._quantizer = faiss.IndexFlatIP(width)
        self._file = faiss.IndexIVFFlat(self._quantizer, width, cells, faiss.METRIC_INNER_PRODUCT)
        rows = np.ascontiguousarray(vectors, np.float32)
        self._file.train(rows)
        self._file.add(rows)

    @property
    def cells(self) -> int:
        """How many there are."""
        return int(self._file.nlist)

    @property
    def centres(self) -> F32:
        """Of the cells, float32 (c, d)."""
        found: F32 = self._quantizer.reconstruct_n(0, self._quantizer.ntotal)
        return found

    def search(self, queries: F32, k: int, probes: int = PROBES) -> tuple[I32, F32]:
        """As `Index.search`. probes: cells that are looked into."""
        settings = faiss.SearchParametersIVF(nprobe=min(probes, self._file.nlist))  # type: ignore[call-arg]
        products, items = self._file.search(np.ascontiguousarray(queries, np.float32), k, params=settings)
        return items.astype(np.int32), products


@dataclass(frozen=True)
class Probing:
    """How many of the cells are looked into, and the part of the exact lists that is found there."""

    probes: int
    cells: int
    recall: float

    def __str__(self) -> str:
        return f"looks into {self.probes} of {self.cells} cells and finds {self.recall:.1%} of what lies in all"


def probing(index: Approximate, vectors: F32, queries: F32) -> Probing:
    """The fewest cells, doubled from 16, in which 0.98 of the exact lists of 500 are found, of vectors (N, d) and for
    queries (n, d) like those to come."""
    depth = min(DEPTH, len(vectors))
    exact = Exact(vectors).search(queries, depth)[0]
    probes = FEWEST
    while True:
        probes = min(probes, index.cells)
        near = index.search(queries, depth, probes)[0]
        recall = float(np.mean([np.isin(some, found).mean() for some, found in zip(exact, near, strict=True)]))
        if recall >= FOUND or probes == index.cells:
            return Probing(probes, index.cells, recall)
        probes *= 2
