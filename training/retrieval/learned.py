"""Sources that `train` fits on demand, since they take minutes and a request more time: vectors of items and of users.

The items' vectors are written; the user's comes of the history in the online store when it is asked for, so that both
models weigh purchases as the store does, halved every 56 and every 14 days. A source has

- `vectors`, float16 (N, d), of the items; `cells`, float32 (c, d), centres of the cells of an inverted file, none up to
  100,000 items; `probes`, how many of them are looked into, so many that 0.98 of what lies in all is found for users of
  the log, and `recall`, the part that was found
- of the form `towers`: `graph`, the bytes of the user tower as ONNX (`training.retrieval.towers.tower_of_sums`), and
  `index` and `group`, int32 (N,), its inputs for each item
- of the form `factors`: `gram`, float32 (d, d), the items' part of the system that alternating least squares solves for
  a user, and `confidence`, what a purchase counts in it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from feature_repo.schema import HALF_LIFE_DAYS
from training.graph import ExportError
from training.retrieval.factors import ImplicitAls
from training.retrieval.log import F32, PurchaseLog
from training.retrieval.products import GROUP
from training.retrieval.search import EXACT_UP_TO, Approximate, Probing, probing
from training.retrieval.served import Arrays, Source
from training.retrieval.tower_export import TOLERANCE, difference, to_onnx
from training.retrieval.tower_training import require_weeks
from training.retrieval.towers import tower_of_sums
from training.retrieval.two_tower import FittedTowers, TwoTower

Progress = Callable[[str, int, int], None]
HALF_LIFE = HALF_LIFE_DAYS["steady"]
QUERIES = 256
"""Users whose lists tell how many cells are looked into."""
CHECKED = 64
"""Items of the history that the exported user tower is checked with."""


def of_towers(fitted: FittedTowers, log: PurchaseLog) -> Source:
    """Two towers of pooled histories (`training.retrieval.two_tower`), fitted with the half-life that the store has.

    log: the purchases they were fitted on.

    Raises ExportError where the graph's vector differs from Keras's by more than 1e-5.
    """
    products, model = fitted.towers.products, tower_of_sums(fitted.towers)
    index, group = products.index, np.ascontiguousarray(products.fields[:, GROUP])
    graph = to_onnx(model)
    some = np.linspace(0, len(index) - 1, min(CHECKED, len(index))).astype(np.intp)
    weights = np.linspace(0, 3, len(some), dtype=np.float32)
    of = {"history": index[some], "group": group[some], "steady": weights, "recent": weights**2}
    apart = difference(model, graph, {name: array[None] for name, array in of.items()})
    if not apart <= TOLERANCE:
        raise ExportError(f"the user tower in ONNX differs from Keras by {apart:.2e}, more than {TOLERANCE:.0e}")
    queries = fitted.towers.user_vectors(fitted.history(_some_users(log)))
    arrays = _searched(fitted.vectors, queries) | {
        "index": index,
        "group": group,
        "graph": np.frombuffer(graph.SerializeToString(), np.uint8),
    }
    return Source("two-tower", "towers", 0.5, "ALSO_BOUGHT", arrays=arrays)


def als(log: PurchaseLog, progress: Progress) -> Source:
    """Implicit alternating least squares (`training.retrieval.factors`)."""
    settings = ImplicitAls(half_life=HALF_LIFE)
    fitted = settings.fit(log)
    items = fitted.items
    gram = items.T @ items + settings.regularization * np.eye(items.shape[1], dtype=np.float32)
    arrays = _searched(items, fitted.users[_some_users(log)]) | {
        "gram": gram,
        "confidence": np.array(settings.alpha, np.float32),
    }
    progress("als", 1, 1)
    return Source("als", "factors", 1.2, "ALSO_BOUGHT", arrays=arrays)


LEARNED: Mapping[str, Callable[[PurchaseLog, Progress], Source]] = {
    "two-tower": lambda log, progress: of_towers(TwoTower(half_life=HALF_LIFE, progress=progress).fit(log), log),
    "als": als,
}
"""What fits each learned source, by its name."""


def require(log: PurchaseLog, learned: Sequence[str]) -> None:
    """Raise UserError where one of these sources has too little to learn from."""
    if "two-tower" in learned:
        require_weeks(log, TwoTower().training)


def probing_of(source: Source) -> Probing | None:
    """How the source's items are searched; None where all of them are."""
    arrays = source.arrays
    if not len(arrays.get("cells", ())):
        return None
    return Probing(int(arrays["probes"]), len(arrays["cells"]), float(arrays["recall"]))


def _searched(vectors: F32, queries: F32) -> Arrays:
    """The items' vectors, and the cells they are searched in for queries like these."""
    kept = vectors.astype(np.float16)
    if len(vectors) <= EXACT_UP_TO:
        return {"vectors": kept, "cells": np.zeros((0, vectors.shape[1]), np.float32)}
    as_kept = kept.astype(np.float32)
    index = Approximate(as_kept)
    chosen = probing(index, as_kept, queries)
    how = {"probes": np.array(chosen.probes), "recall": np.array(chosen.recall, np.float32)}
    return {"vectors": kept, "cells": index.centres, **how}


def _some_users(log: PurchaseLog) -> npt.NDArray[np.intp]:
    """Positions of up to 256 users who bought something, alike far from each other."""
    users = np.unique(log.users)
    return users[np.linspace(0, len(users) - 1, min(QUERIES, len(users))).astype(np.intp)].astype(np.intp)
