"""Sources that find items by vectors: those whose products with the user's are largest.

The user's vector comes of its history when it is asked for: by the graph of the user tower, or as alternating least
squares would have it (Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback Datasets, 2008). Faiss
searches all items where the source has no cells, else those of the cells nearest to the user's vector.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from feature_repo.transforms import F32
from server.onnx_file import external_data
from server.retrieval.history import History
from server.retrieval.keys import I32
from server.retrieval.sources import Source
from server.sessions import open_session
from shoprank.errors import BundleError

MOST = 256
"""Items of the history, those of the most weight, that the user's vector comes of."""
LANES = 8
"""Numbers that Faiss reads at once."""
ROWS = 16_384
CERTAIN, FARTHEST, LEAST = 1e4, 1e3, 1e-3
"""The most confidence of a purchase, the largest factor and the smallest eigenvalue of a source's own system: beyond
these a user's may have no solution in the precision of the numbers."""
NONE: I32 = np.zeros(0, np.int32)

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Side(Protocol):
    """The user's side of a source: a vector of a history."""

    def vector(self, rows: I32, steady: F32, recent: F32) -> F32:
        """float32 (d,), of items at positions (h,) of the catalogue, by what is left of their weights after halving
        every 56 and every 14 days, (h,)."""
        ...

    def shares(self, rows: I32, steady: F32, items: I32) -> F32:
        """How much each item of the history (h,) speaks for each of the items (n,): float32 (h, n)."""
        ...


class Search:
    """Finds the items of a source of the form `towers` or `factors`.

    Raises BundleError where no user's vector could be made, or none as long as the items'.
    """

    def __init__(self, source: Source) -> None:
        self._by = source
        self._side: Side = TowerSide(source) if source.form == "towers" else FactorSide(source)
        # A score of 0 or less is that of no interest among factors, and nothing of the kind among logarithms.
        self._floor = -np.inf if source.form == "towers" else 0.0
        self._index = Index(source.arrays["vectors"], source.arrays["cells"], int(source.arrays["probes"].item()))

    def best(self, history: History, count: int, passing: Mask | None) -> I32:
        """The best `count` for a user, best first, of those that pass; none for a user without a history."""
        rows, steady, recent = self._of(history)
        if not len(rows):
            return NONE
        items, products = self._index.search(self._side.vector(rows, steady, recent), count, passing)
        found: I32 = items[products > self._floor]
        return found

    def because(self, history: History, items: I32) -> I32:
        """The item of the history that speaks most for each of the items, as a position in the catalogue; -1 where
        there is no history."""
        rows, steady, _ = self._of(history)
        if not len(rows):
            return np.full(len(items), -1, np.int32)
        found: I32 = rows[self._side.shares(rows, steady, items).argmax(axis=0)]
        return found

    def _of(self, history: History) -> tuple[I32, F32, F32]:
        """The history's items of the most weight, and both their weights."""
        steady, recent = history.weights(self._by), history.lately()
        if len(steady) > MOST:
            kept = np.argpartition(steady, len(steady) - MOST)[len(steady) - MOST :]
            return history.items[kept], steady[kept], recent[kept]
        return history.items, steady, recent


class Index:
    """Vectors of N items, float16 (N, d), in Faiss. cells: centres, float32 (c, d); none for a search of all items.
    probes: how many of the cells are looked into."""

    def __init__(self, vectors: npt.NDArray[np.float16], cells: F32, probes: int) -> None:
        logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which vectors it can do without
        import faiss  # 20 MB, which only bundles with such sources need

        self._faiss: Any = faiss  # its stubs lack what is used here
        self._width = -(-vectors.shape[1] // LANES) * LANES
        half, product = self._faiss.ScalarQuantizer.QT_fp16, self._faiss.METRIC_INNER_PRODUCT
        self._probes = min(probes, len(cells))
        if self._probes:
            self._quantizer = self._faiss.IndexFlatIP(self._width)  # the file refers to it without holding it
            self._quantizer.add(self._padded(cells))
            self._file = self._faiss.IndexIVFScalarQuantizer(
                self._quantizer, self._width, len(cells), half, product, False
            )
            self._file.is_trained = True
        else:
            self._file = self._faiss.IndexScalarQuantizer(self._width, half, product)
        self._faiss.omp_set_num_threads(1)
        for start in range(0, len(vectors), ROWS):
            self._file.add(self._padded(vectors[start : start + ROWS]))

    def search(self, vector: F32, count: int, passing: Mask | None) -> tuple[I32, F32]:
        """The items of the largest products with a vector (d,), largest first, of those that pass, and the products:
        int32 and float32 (n,), `count` of them or as many as there are or were met."""
        only = {} if passing is None else {"sel": self._faiss.IDSelectorBitmap(np.packbits(passing, bitorder="little"))}
        if self._probes:
            # What passes may lie anywhere, and those that do not cost little.
            probes = self._probes if passing is None else self._file.nlist
            settings = self._faiss.SearchParametersIVF(nprobe=probes, **only)
        else:
            settings = self._faiss.SearchParameters(**only)
        count = min(count, self._file.ntotal)
        self._faiss.omp_set_num_threads(1)  # of the calling thread: others would be woken for every search
        products, items = self._file.search(self._padded(vector[None]), count, params=settings)
        there = items[0] >= 0
        return items[0, there].astype(np.int32), products[0, there]

    def _padded(self, rows: npt.NDArray[Any]) -> F32:
        """Rows with zeros behind: Faiss is many times as fast where the processor's vectors are full."""
        found = np.zeros((len(rows), self._width), np.float32)
        found[:, : rows.shape[1]] = rows
        return found


class TowerSide:
    """The user tower: a graph of `history`, `group`, int32, `steady` and `recent`, float32, (1, h) each, that gives
    `vector`, float32 (1, d). index, group: int32 (N,), which embeddings each item has."""

    def __init__(self, source: Source) -> None:
        self._index, self._group = source.arrays["index"], source.arrays["group"]
        self._vectors = source.arrays["vectors"]
        content = source.arrays["graph"].tobytes()
        try:
            if any(True for _ in external_data(content)):
                raise ValueError("a tensor names external data")
            self._session = open_session(content, 1)
            ends = np.array([self._index.argmax(), self._group.argmax()], np.int32)
            some = [np.resize(ends, length) for length in (1, 2, MOST)]
            found = [self.vector(rows, *np.ones((2, len(rows)), np.float32)) for rows in some]
        except Exception as error:
            raise BundleError(f"{source.name}: the user tower cannot be run: {error}") from error
        for vector in found:
            if vector.shape != self._vectors.shape[1:] or vector.dtype != np.float32 or not np.isfinite(vector).all():
                raise BundleError(
                    f"{source.name}: the user tower gives a vector of {vector.dtype} and shape {vector.shape}"
                )

    def vector(self, rows: I32, steady: F32, recent: F32) -> F32:
        """As `Side.vector`."""
        of = {"history": self._index[rows], "group": self._group[rows], "steady": steady, "recent": recent}
        (found,) = self._session.run(["vector"], {name: array[None] for name, array in of.items()})
        vector: F32 = found[0]
        return vector

    def shares(self, rows: I32, steady: F32, items: I32) -> F32:
        """As `Side.shares`: how alike the items' directions are, whatever the weights."""
        own, others = (self._vectors[at, :-1].astype(np.float32) for at in (rows, items))  # the last is the item's bias
        found: F32 = own @ others.T
        return found


class FactorSide:
    """The user's half of a step of alternating least squares.

    gram: float32 (d, d), the sum over all items of their vectors' outer products, with the regularization.
    confidence: of a purchase, alpha; a pair's is 1 + alpha · log(1 + weight).
    """

    def __init__(self, source: Source) -> None:
        self._vectors, self._gram = source.arrays["vectors"], source.arrays["gram"].astype(np.float32)
        self._alpha = float(source.arrays["confidence"].item())
        # Every user's system is this and what is not negative.
        if not np.isfinite(self._gram).all() or np.linalg.eigvalsh(self._gram.astype(np.float64))[0] < LEAST:
            raise BundleError(f"{source.name}: systems that cannot be solved")
        if np.abs(self._vectors).max(initial=0) > FARTHEST:
            raise BundleError(f"{source.name}: factors beyond {FARTHEST}")
        if not 0 <= self._alpha <= CERTAIN:
            raise BundleError(f"{source.name}: a confidence of {self._alpha}")

    def vector(self, rows: I32, steady: F32, recent: F32) -> F32:
        """As `Side.vector`."""
        own, system, confidence = self._system(rows, steady)
        found: F32 = np.linalg.solve(system, confidence @ own).astype(np.float32)
        return found

    def shares(self, rows: I32, steady: F32, items: I32) -> F32:
        """As `Side.shares`: the score is the sum of these."""
        own, system, confidence = self._system(rows, steady)
        others = self._vectors[items].astype(np.float32)
        found: F32 = confidence[:, None] * (own @ np.linalg.solve(system, others.T).astype(np.float32))
        return found

    def _system(self, rows: I32, steady: F32) -> tuple[F32, F64, F32]:
        """The vectors of the history's items, the matrix that is solved for, and the confidences."""
        own = self._vectors[rows].astype(np.float32)
        confidence = np.asarray(1 + self._alpha * np.log1p(steady), np.float32)
        system = np.asarray(self._gram + (own * (confidence - 1)[:, None]).T @ own, np.float64)
        return own, system, confidence
