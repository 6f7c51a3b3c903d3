"""The sources a server retrieves with: fitted on a log, written as plain arrays into one file of the bundle.

Every source works from what the online store knows of a user when it is asked (see `feature_repo.schema.AFFINITY`), so
purchases since the training count, and the file names no user. A source has one of nine forms:

- `rates`: the rate of buying again, by the cells of `training.retrieval.repeat`, of each item of the history
- `history`: the items of the history by their weight
- `neighbours`: items × items; the sum of the rows of the history's items, each times its weight
- `levels`: subcategories × items; as `neighbours`, of the history's subcategories
- `segments`: the list of the segment whose centre is nearest to the user's shares of subcategories
- `traits`: for users without a history, `items` by the logarithm of their popularity, `base`, and what each value of a
  trait adds to it, `lifts`: which of USER_TRAITS, `traits`, and the value's key, `keys`
- `everybody`: one list
- `towers` and `factors`: items whose `vectors` have the largest product with the user's, which comes of the history;
  beyond 100,000 items they lie in cells around the centres `cells` (see `training.retrieval.learned`)

`retrieval.npz` holds `sources`, JSON with each source's name, form, weight in the blend, what it weighs the history by
and what speaks for its items (a `ReasonKind` of protos/shoprank/v1/recommendation.proto, without its prefix);
`item_ids`, `item_keys` (N,), keys ascending; and each source's arrays under `<source>/<name>`, matrices as `data`,
`indices`, `indptr` of CSR, each row's largest first. It loads without pickle.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from feature_repo.schema import USER_TRAITS, key_of
from training.retrieval.content import CategoryPopularity, tokens
from training.retrieval.factors import Ease
from training.retrieval.log import Catalogue, PurchaseLog, Sparse
from training.retrieval.neighbours import Association, ItemKnn
from training.retrieval.popularity import SegmentPopularity
from training.retrieval.repeat import COUNTS, RATIO, SINCE, STEADY, RepeatPurchase
from training.retrieval.traits import TraitPopularity, Traits

Arrays = dict[str, npt.NDArray[Any]]
LAYOUT = 1
DEPTH = 500
"""Length of the lists of segments and of everybody."""
ROW = 50
"""Entries that are kept of a row of a matrix."""
OF_CATEGORY = 25
"""Items of a subcategory that are kept."""
OF_TRAIT = 2_000
"""Items, those that sell best, that popularity by traits tells apart."""
ALIKE = 16
"""Items like an item by their content that are kept."""
ROWS = 1_024


@dataclass(frozen=True)
class Source:
    """One fitted source. weight: in the blend. reason: what speaks for its items. by: `recent` or `steady`, what the
    history is weighed by, to the power of `power`, or its log1p where that is 0."""

    name: str
    form: str
    weight: float
    reason: str
    by: str = "steady"
    power: float = 1.0
    arrays: Arrays = field(default_factory=dict)


def write_served(path: Path, sources: list[Source], log: PurchaseLog) -> None:
    """Write the sources into one file, with what a server says and does beside them: tokens of the items' content, and
    all items by what they sold."""
    catalogue = log.catalogue
    names = ("name", "form", "weight", "reason", "by", "power")
    facts = [{name: getattr(source, name) for name in names} for source in sources]
    arrays: Arrays = {
        "layout": np.array(LAYOUT),
        "sources": np.array(json.dumps(facts)),
        "item_ids": catalogue.item_ids.astype(np.str_),
        "item_keys": catalogue.item_keys,
        "sold": _sold(log),
        **{f"tokens/{name}": array for name, array in _csr(tokens(catalogue)).items()},
    }
    for source in sources:
        arrays |= {f"{source.name}/{name}": array for name, array in source.arrays.items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _repeat(log: PurchaseLog) -> Source:
    edges = {"counts": COUNTS, "since": SINCE, "ratio": RATIO, "steady": STEADY}
    arrays: Arrays = {name: np.array(values, np.float32) for name, values in edges.items()}
    arrays["rates"] = RepeatPurchase().rates(log).astype(np.float32)
    return Source("repeat", "rates", 0.5, "BUYS_REGULARLY", arrays=arrays)


def _frequency(log: PurchaseLog) -> Source:
    return Source("frequency", "history", 2.5, "BOUGHT_BEFORE")


def _item_knn(log: PurchaseLog) -> Source:
    return Source("item-knn", "neighbours", 1.2, "ALSO_BOUGHT", arrays=_rows(ItemKnn().similar(log)))


def _association(log: PurchaseLog) -> Source:
    rows = _rows(Association().similar(log))
    return Source("association", "neighbours", 0.2, "BOUGHT_TOGETHER", by="recent", arrays=rows)


def _ease(log: PurchaseLog) -> Source:
    return Source("ease", "neighbours", 1.0, "ALSO_BOUGHT", power=0, arrays=_rows(_explained(log)))


def _content(log: PurchaseLog) -> Source:
    return Source("content", "neighbours", 0.3, "SIMILAR", power=0, arrays=_rows(_alike(log), ALIKE))


def _popularity(log: PurchaseLog) -> Source:
    return Source("popularity", "everybody", 0.8, "POPULAR", arrays={"items": _sold(log)[:DEPTH]})


def _category(log: PurchaseLog) -> Source:
    category = CategoryPopularity()
    arrays = _rows(category.within(log), OF_CATEGORY) | {"keys": _level_keys(log.catalogue)}
    return Source("category", "levels", 0.3, "CATEGORY", power=category.power, arrays=arrays)


def _segment(log: PurchaseLog) -> Source:
    """Lists of the segments, and their centres: the mean over their users of the square roots of shares."""
    fitted = SegmentPopularity().fit(log)
    codes = log.catalogue.codes("subcategory")
    shape = (log.catalogue.shape[0], int(codes.max()) + 1)
    profile = np.zeros(shape, np.float32)
    np.add.at(profile, (log.users, codes[log.items]), 1)
    profile = np.sqrt(profile / np.maximum(profile.sum(1, keepdims=True), 1))
    bought = profile.any(axis=1)
    centres = np.zeros((len(fitted.scores), shape[1]), np.float32)
    np.add.at(centres, fitted.segment[bought], profile[bought])
    centres /= np.maximum(np.bincount(fitted.segment[bought], minlength=len(centres)), 1)[:, None]
    best = np.argsort(-fitted.scores, axis=1, kind="stable")[:, :DEPTH]
    best = np.where(np.take_along_axis(fitted.scores, best, 1) > 0, best, -1)
    arrays: Arrays = {"items": best.astype(np.int32), "centres": centres, "keys": _level_keys(log.catalogue)}
    return Source("segment", "segments", 0.5, "SEGMENT", arrays=arrays)


def _traits(log: PurchaseLog, traits: Traits) -> Source:
    """Popularity by what is told of a user."""
    fitted = TraitPopularity(traits).fit(log)
    sold = _sold(log)[:OF_TRAIT]
    sold = sold[log.popularity(28)[sold] > 0]
    arrays: Arrays = {
        "items": sold,
        "base": fitted.base[sold],
        "lifts": fitted.lifts[:, sold].astype(np.float16),
        "traits": np.array([USER_TRAITS.index(name) for name, _ in traits.groups], np.int32),
        "keys": np.array([key_of(value) for _, value in traits.groups], np.int64),
    }
    return Source("traits", "traits", 2.5, "SEGMENT", arrays=arrays)


def _sold(log: PurchaseLog) -> npt.NDArray[np.int32]:
    """All items, those first that sold most in 28 days, then those that sold most ever."""
    ever = np.bincount(log.items, minlength=log.catalogue.shape[1])
    return np.lexsort((-ever, -log.popularity(28))).astype(np.int32)


def _level_keys(catalogue: Catalogue) -> npt.NDArray[np.int64]:
    """Keys of the subcategories as the store has them, in the order of `Catalogue.codes`; 0 for none."""
    return np.array([key_of(v) if v else 0 for v in np.unique(catalogue.content["subcategory"].astype(str))], np.int64)


def _explained(log: PurchaseLog) -> Sparse:
    """EASE's weights between items, items × items, the positive ones."""
    fitted = Ease(l2=100).fit(log)
    kept = sp.coo_matrix(np.maximum(fitted.weights, 0))
    return sp.csr_matrix((kept.data, (fitted.positions[kept.row], fitted.positions[kept.col])), (fitted.items,) * 2)


def _alike(log: PurchaseLog) -> Sparse:
    """Items × items of one subcategory: cosine of their tokens, times the root of the popularity plus one."""
    described, codes = tokens(log.catalogue), log.catalogue.codes("subcategory")
    prior = np.sqrt(1 + log.popularity(28))
    named = np.flatnonzero(log.catalogue.content["subcategory"].astype(str) != "")
    order = named[np.argsort(codes[named], kind="stable")]
    ends = np.flatnonzero(np.diff(codes[order], append=-1)) + 1
    rows, columns, values = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)], [np.zeros(0, np.float32)]
    for group in np.split(order, ends[:-1]):
        content = described[group]
        for start in range(0, len(group), ROWS):
            own = group[start : start + ROWS]
            close = (described[own] @ content.T).toarray() * prior[group]
            close[np.arange(len(own)), np.arange(start, start + len(own))] = 0
            k = min(ALIKE, len(group))
            best = np.argpartition(-close, k - 1, axis=1)[:, :k]
            rows.append(np.repeat(own, k))
            columns.append(group[best.ravel()])
            values.append(np.take_along_axis(close, best, 1).ravel())
    where = (np.concatenate(rows), np.concatenate(columns))
    return sp.csr_matrix((np.concatenate(values), where), (len(codes),) * 2)


def _rows(matrix: Sparse, most: int = ROW) -> Arrays:
    """A matrix, of each row the `most` largest entries above 0, largest first."""
    found = sp.coo_matrix(matrix)
    order = np.lexsort((-found.data, found.row))
    row, column, data = found.row[order], found.col[order], found.data[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=matrix.shape[0]))])
    kept = (np.arange(len(row)) - starts[row] < most) & (data > 0)
    counts = np.bincount(row[kept], minlength=matrix.shape[0])
    return {
        "data": data[kept].astype(np.float16),
        "indices": column[kept].astype(np.int32),
        "indptr": np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
    }


def _csr(matrix: Sparse) -> Arrays:
    """A matrix, its columns ascending in a row."""
    rows = sp.csr_matrix(matrix)
    rows.sort_indices()
    return {
        "data": rows.data.astype(np.float16),
        "indices": rows.indices.astype(np.int32),
        "indptr": rows.indptr.astype(np.int32),
    }


FITS: tuple[Callable[[PurchaseLog], Source], ...] = (
    _repeat,
    _frequency,
    _item_knn,
    _association,
    _ease,
    _content,
    _category,
    _segment,
    _popularity,
)
"""What fits each source."""


def fit_sources(
    log: PurchaseLog, traits: Traits, progress: Callable[[str, int, int], None] = lambda *step: None
) -> list[Source]:
    """Every source, fitted on the log; that by traits where any is told of anybody.

    `progress` is told what is done, how many of how many.
    """
    made: list[Source] = [_traits(log, traits)] if traits.groups else []
    total = len(made) + len(FITS)
    for fit in FITS:
        made.append(fit(log))
        progress("sources", len(made), total)
    return made
