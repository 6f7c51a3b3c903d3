"""The retrieval file of a bundle in memory; what it holds is told in `training.retrieval.served`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from feature_repo.schema import USER_TRAITS
from feature_repo.transforms import F32, I64
from server.onnx_file import check_archive
from shoprank.errors import BundleError

I32 = npt.NDArray[np.int32]
Form = Literal["rates", "history", "neighbours", "levels", "segments", "traits", "everybody", "towers", "factors"]
LAYOUT = 1
MOST_BYTES = 1 << 32
"""Of the file, unpacked: some four million items."""
PROBES = np.array(128)
"""Cells that are looked into where the file does not say."""
MOST = 32
"""Sources at most: a candidate names its own by bits."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "rates": ("rates", "counts", "since", "ratio", "steady"),
    "history": (),
    "neighbours": ("data", "indices", "indptr"),
    "levels": ("data", "indices", "indptr", "keys"),
    "segments": ("items", "centres", "keys"),
    "traits": ("items", "base", "lifts", "traits", "keys"),
    "everybody": ("items",),
    "towers": ("vectors", "cells", "index", "group", "graph"),
    "factors": ("vectors", "cells", "gram", "confidence"),
}
"""The arrays of a source of each form."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A CSR matrix: data float32, indices and indptr int32; columns: how many it has at least."""

    data: F32
    indices: I32
    indptr: I32
    columns: int

    def row(self, index: int) -> tuple[I32, F32]:
        """Columns and values of a row."""
        start, end = self.indptr[index : index + 2]
        return self.indices[start:end], self.data[start:end]


@dataclass(frozen=True, slots=True)
class Source:
    """One source. weight: in the blend. reason: what speaks for its items. by, power: what the history is weighed by.
    matrix: where its form has one; arrays: its other arrays."""

    name: str
    form: Form
    weight: float
    reason: str
    by: str
    power: float
    matrix: Matrix | None
    arrays: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Sources:
    """All sources, with the catalogue they speak of: item_ids text (N,), item_keys int64 (N,); sold int32 (N,), all
    items by what they sold; tokens: items × tokens, each row of norm 1."""

    sources: tuple[Source, ...]
    item_ids: list[str]
    item_keys: I64
    sold: I32
    tokens: Matrix

    @classmethod
    def read(cls, path: Path) -> Sources:
        """The file's sources. Raises BundleError where it is none, or one of another layout."""
        check_archive(path, MOST_BYTES)
        try:
            with np.load(path, allow_pickle=False) as kept:
                arrays = {name: kept[name] for name in kept.files}
            if (layout := int(arrays["layout"])) != LAYOUT:
                raise BundleError(f"{path}: layout {layout}, but this version reads layout {LAYOUT}; train again")
            made = cls(
                sources=tuple(_source(facts, arrays) for facts in json.loads(str(arrays["sources"]))),
                item_ids=arrays["item_ids"].tolist(),
                item_keys=np.ascontiguousarray(arrays["item_keys"], np.int64),
                sold=arrays["sold"].astype(np.int32),
                tokens=_matrix("tokens", arrays),
            )
            made.check()
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise BundleError(f"{path}: no file of sources: {type(error).__name__}: {error}") from error
        return made

    def check(self) -> None:
        """Raise ValueError for arrays that compiled code must not be given."""
        count = len(self.item_ids)
        if not 0 < len(self.sources) <= MOST or [s.form for s in self.sources].count("everybody") != 1:
            raise ValueError(f"{len(self.sources)} sources; 1 to {MOST} are read, one of them of the form everybody")
        if not (len(self.item_keys) == len(self.sold) == count) or (np.sort(self.sold) != np.arange(count)).any():
            raise ValueError(f"{count} items, but other numbers of keys or places")
        if len(np.unique(self.item_keys)) != count or (self.item_keys < 0).any():
            raise ValueError("keys of items repeat or are negative")
        _check_matrix("tokens", self.tokens, count, None)
        if len({source.name for source in self.sources}) != len(self.sources):
            raise ValueError("names of sources repeat")
        for source in self.sources:
            if not (0 <= source.weight < np.inf and 0 <= source.power < np.inf):
                raise ValueError(f"{source.name}: a weight of {source.weight} or a power of {source.power}")
            if source.matrix is not None:
                rows = len(source.arrays["keys"]) if source.form == "levels" else count
                _check_matrix(source.name, source.matrix, rows, count)
            if "items" in source.arrays and not _within(source.arrays["items"], -1, count):
                raise ValueError(f"{source.name}: names items beyond the {count} there are")
            if source.by not in ("recent", "steady"):
                raise ValueError(f"{source.name}: weighs by {source.by}")
            if source.form == "rates":
                sizes = tuple(len(source.arrays[name]) + 1 for name in PARTS["rates"][1:])
                if source.arrays["rates"].shape != (sizes[0], sizes[1], sizes[2] + 1, sizes[3]):
                    raise ValueError(f"{source.name}: rates of shape {source.arrays['rates'].shape} for {sizes} cells")
            if source.form == "segments":
                segments, levels = len(source.arrays["items"]), len(source.arrays["keys"])
                if source.arrays["centres"].shape != (segments, levels):
                    raise ValueError(f"{source.name}: centres of shape {source.arrays['centres'].shape}")
            if source.form == "traits":
                _check_traits(source)
            if "vectors" in source.arrays:
                _check_vectors(source, count)


def _source(facts: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Source:
    name, form = str(facts["name"]), facts["form"]
    parts = PARTS[form]
    own = {part: np.ascontiguousarray(arrays[f"{name}/{part}"]) for part in parts}
    if form == "traits":
        own |= {"base": own["base"].astype(np.float32), "lifts": own["lifts"].astype(np.float32)}
        own["items"] = own["items"].astype(np.int32)
    if "vectors" in own:
        if own["vectors"].dtype.kind != "f" or own["cells"].dtype.kind != "f":
            raise ValueError(f"{name}: vectors of {own['vectors'].dtype} and cells of {own['cells'].dtype}")
        own |= {"vectors": own["vectors"].astype(np.float16), "cells": own["cells"].astype(np.float32)}
        own["probes"] = arrays.get(f"{name}/probes", PROBES)
    if form == "segments":
        own["squares"] = np.square(own["centres"]).sum(axis=1)
    return Source(
        name=name,
        form=form,
        weight=float(facts["weight"]),
        reason=str(facts["reason"]),
        by=str(facts["by"]),
        power=float(facts["power"]),
        matrix=_matrix(name, arrays) if "indptr" in parts else None,
        arrays=own,
    )


def _matrix(name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Matrix:
    indices = arrays[f"{name}/indices"].astype(np.int32)
    return Matrix(
        data=arrays[f"{name}/data"].astype(np.float32),
        indices=indices,
        indptr=arrays[f"{name}/indptr"].astype(np.int32),
        columns=int(indices.max(initial=-1)) + 1,
    )


def _check_traits(source: Source) -> None:
    parts = source.arrays
    items, base, lifts, traits, keys = (parts[part] for part in PARTS["traits"])
    if base.shape != items.shape or lifts.shape != (len(keys), len(items)) or traits.shape != keys.shape:
        raise ValueError(f"{source.name}: lifts of shape {lifts.shape} for {len(keys)} values and {len(items)} items")
    if not (np.isfinite(base).all() and np.isfinite(lifts).all() and _within(items, 0, None)):
        raise ValueError(f"{source.name}: values that are missing or not finite")
    if not _within(traits, 0, len(USER_TRAITS)):
        raise ValueError(f"{source.name}: traits beyond the {len(USER_TRAITS)} there are")


def _check_vectors(source: Source, count: int) -> None:
    vectors, cells = source.arrays["vectors"], source.arrays["cells"]
    if (
        vectors.ndim != 2
        or len(vectors) != count
        or len(cells) > count
        or cells.ndim != 2
        or cells.shape[1] != vectors.shape[1]
    ):
        raise ValueError(f"{source.name}: vectors of shape {vectors.shape} and cells of {cells.shape}")
    probes = source.arrays["probes"]
    if probes.size != 1 or probes.dtype.kind not in "iu" or probes < 1:
        raise ValueError(f"{source.name}: {probes} cells to look into")
    if not (np.isfinite(vectors).all() and np.isfinite(cells).all()):
        raise ValueError(f"{source.name}: values that are not finite")
    width = vectors.shape[1]
    if source.form == "factors":
        gram, confidence = source.arrays["gram"], source.arrays["confidence"]
        if gram.shape != (width, width) or confidence.size != 1:
            raise ValueError(f"{source.name}: a matrix of shape {gram.shape} for {width} factors")
        if gram.dtype.kind != "f" or confidence.dtype.kind != "f":
            raise ValueError(f"{source.name}: a matrix of {gram.dtype} and a confidence of {confidence.dtype}")
    if source.form == "towers" and not all(
        source.arrays[name].shape == (count,) and _within(source.arrays[name], 0, None) for name in ("index", "group")
    ):
        raise ValueError(f"{source.name}: embeddings of items that are missing or negative")


def _check_matrix(name: str, matrix: Matrix, rows: int, columns: int | None) -> None:
    ends = matrix.indptr
    if len(ends) != rows + 1 or ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] != len(matrix.indices):
        raise ValueError(f"{name}: ends of rows that are none")
    if len(matrix.data) != len(matrix.indices) or not np.isfinite(matrix.data).all():
        raise ValueError(f"{name}: values that are missing or not finite")
    if not _within(matrix.indices, 0, columns):
        raise ValueError(f"{name}: columns out of bounds")


def _within(values: npt.NDArray[Any], low: int, end: int | None) -> bool:
    return not values.size or bool(values.min() >= low and (end is None or values.max() < end))
