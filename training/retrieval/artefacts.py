"""Fitted generators as plain arrays in one file, so that a server loads them with NumPy alone.

`retrieval.npz` holds for each source, under `<source>/<name>`, one of two forms:

- sparse: a score is weights (users × m) times values (m × items) plus own (users × items), times prior (items,);
  each matrix as `data`, `indices`, `indptr` of CSR. A part that is absent is zero, an absent prior is one.
- dense: a score is users (U, d) times items (N, d), or the same scores (N,) for everybody, or those of the user's
  segment.

`positions` would be the catalogue's: `user_ids`, `item_ids` stand beside them as fixed-width text, so that the file
loads without pickle. The manifest of a bundle names the file with its SHA-256 like every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from training.retrieval.content import Profiles
from training.retrieval.factors import Factors, ItemWeights
from training.retrieval.frequency import TIE, Personal
from training.retrieval.generator import Scorer
from training.retrieval.log import Catalogue
from training.retrieval.neighbours import Mixed
from training.retrieval.popularity import BySegment, Same
from training.retrieval.repeat import Repeats

Arrays = dict[str, npt.NDArray[Any]]
FILE = "retrieval.npz"


def arrays_of(scorer: Scorer) -> Arrays:
    """A fitted generator's arrays by name. Raises TypeError for a kind that has no form here."""
    match scorer:
        case Mixed(weights, values, own):
            return {**_csr("weights", weights), **_csr("values", values), **_csr("own", own)}
        case Profiles(users, items, prior):
            return {**_csr("weights", users), **_csr("values", items), "prior": prior}
        case ItemWeights(vectors, weights, positions, items):
            spread = (np.ones(len(positions), np.float32), (np.arange(len(positions)), positions))
            values = sp.csr_matrix(weights) @ sp.csr_matrix(spread, (len(positions), items))
            return {**_csr("weights", vectors), **_csr("values", values)}
        case Personal(scores, popularity):
            return {**_csr("own", scores), "everybody": TIE * popularity}
        case Repeats(probability, due_days):
            return {**_csr("own", probability), **_csr("due_days", due_days)}
        case Factors(users, items):
            return {"users": users, "items": items}
        case Same(scores):
            return {"everybody": scores}
        case BySegment(scores, segment):
            return {"segments": scores, "segment": segment}
    raise TypeError(f"{type(scorer).__name__}: no form as arrays")


def write_sources(path: Path, sources: Sequence[str], scorers: Sequence[Scorer], catalogue: Catalogue) -> None:
    """Write the fitted generators of a blend into one file."""
    arrays: Arrays = {
        "user_ids": catalogue.user_ids.astype(np.str_),
        "item_ids": catalogue.item_ids.astype(np.str_),
        "sources": np.array(sources, np.str_),
    }
    for source, scorer in zip(sources, scorers, strict=True):
        arrays |= {f"{source}/{name}": array for name, array in arrays_of(scorer).items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _csr(name: str, matrix: Any) -> Arrays:
    rows = sp.csr_matrix(matrix)
    return {
        f"{name}.data": rows.data.astype(np.float32),
        f"{name}.indices": rows.indices.astype(np.int32),
        f"{name}.indptr": rows.indptr.astype(np.int64),
    }
