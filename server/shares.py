"""The first layer, compiled: items' shares, kept beside their rows, summed with the others' and that of the ages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from feature_repo.prefetch import LINE, prefetch
from feature_repo.transforms import I64, Affinities
from server.items import Found, Shelf

F32 = npt.NDArray[np.float32]
ALL = -1
"""What `_add` returns where every item had its share."""
AHEAD = 8
"""Shares that are asked for ahead of the one that is added: most miss the processor's caches."""
_FLOATS = LINE // 4
ROWS_A_RUN = 4_096
"""Items whose shares one run of the graph computes: what a run needs, ONNX Runtime keeps."""

_types = numba.types
_floats = [_types.Array(_types.float32, d, "C", readonly=True) for d in range(4)]
_longs, _flags = (_types.Array(kind, 1, "C", readonly=True) for kind in (_types.int64, _types.boolean))


START, RATE, MIRROR, MEAN, STD = range(5)
"""Rows of the shape of ages, as of `training.encoding.Normalization`."""
CLIP = np.float32(5)
"""That of `training.encoding`: golden answers hold them together."""
MISSING = 2
"""First of the kernel's rows for missing ages."""


@numba.njit(cache=True, error_model="numpy")
def _normalized(age: Any, shape: Any, column: int) -> Any:
    """The age's normalized value."""
    y = math.log(max((age - shape[START, column]) * shape[RATE, column], np.float32(1)))
    if shape[MIRROR, column] > 0:
        y -= math.log(max((-age - shape[START, column]) * shape[MIRROR, column], np.float32(1)))
    return min(max((y - shape[MEAN, column]) / shape[STD, column], -CLIP), CLIP)


@numba.njit(cache=True, error_model="numpy")
def _age(age: Any, shape: Any, column: int) -> Any:
    """What a row of the kernel is multiplied by, and which row that is."""
    if math.isnan(age):
        return np.float32(1), MISSING + column
    return np.float32(_normalized(age, shape, column)), column


@numba.njit(
    _types.int64(
        _types.Array(_types.float32, 2, "C"), _floats[2], _flags, _longs, _longs, _floats[2], _floats[3], _floats[3],
        _types.Array(_types.int32, 2, "C", readonly=True), _floats[2], _floats[2], _floats[2],
    ),
    cache=True, error_model="numpy", nogil=True,
)  # fmt: skip
def _add(
    out: Any, values: Any, there: Any, positions: Any, ends: Any, of_users: Any, of_items: Any, of_categories: Any,
    rows: Any, ages: Any, shape: Any, kernel: Any,
) -> Any:  # fmt: skip
    """Write the first layer; returns the first item that has no share yet, or ALL. Arguments: see `ItemShares.add`."""
    width, begin = values.shape[1], 0
    for i in range(min(AHEAD, len(positions))):
        for j in range(0, width, _FLOATS):
            prefetch(values, positions[i], j)  # type: ignore[call-arg]
    for user in range(len(ends)):
        of_user = of_users[user]
        for i in range(begin, ends[user]):
            if i + AHEAD < len(positions):
                for j in range(0, width, _FLOATS):
                    prefetch(values, positions[i + AHEAD], j)  # type: ignore[call-arg]
            if not there[positions[i]]:
                return i
            item, sums = values[positions[i]], out[i]
            first, second, third = of_items[0, rows[i, 0]], of_categories[0, rows[i, 1]], of_categories[1, rows[i, 2]]
            (a, of_a), (b, of_b) = _age(ages[0, i], shape, 0), _age(ages[1, i], shape, 1)
            old, late = kernel[of_a], kernel[of_b]
            for j in range(width):
                x = item[j] + of_user[j] + first[j] + second[j] + third[j] + a * old[j] + b * late[j]
                sums[j] = max(x, np.float32(0))
        begin = ends[user]
    return ALL


@numba.njit(
    _types.void(_types.Array(_types.float32, 2, "C"), _floats[2], _floats[2], _floats[2]),
    cache=True, error_model="numpy", nogil=True,
)  # fmt: skip
def activate(share: Any, ages: Any, shape: Any, kernel: Any) -> None:
    """Make sums of shares (n, hidden) the first layer's answers, in place. ages, shape, kernel: see `Ages`."""
    for i in range(len(share)):
        (a, of_a), (b, of_b) = _age(ages[0, i], shape, 0), _age(ages[1, i], shape, 1)
        for j in range(share.shape[1]):
            share[i, j] = max(share[i, j] + a * kernel[of_a, j] + b * kernel[of_b, j], np.float32(0))


@dataclass(frozen=True, slots=True)
class Ages:
    """The share of a candidate's two ages, those of `feature_repo.transforms.Affinities`.

    shape: float32 (5, 2), how each is normalized. kernel: float32 (4, hidden), rows of both, and of both when missing.
    """

    shape: F32
    kernel: F32


@dataclass(frozen=True, slots=True)
class Kept:
    """Items' shares: float32 (capacity, hidden) beside a shelf's rows, and which are there."""

    shelf: Shelf
    values: F32
    there: npt.NDArray[np.bool_]


class ItemShares:
    """Items' shares of a model's first layer, for as long as their rows are on the shelf.

    of_rows: computes them, float32 (n, hidden), of items' numbers (n, 22) and keys (n, 5). ages: how the share of the
    ages is computed, which is added with them.
    """

    def __init__(self, of_rows: Callable[[F32, I64], F32], ages: Ages) -> None:
        self._of_rows = of_rows
        self._ages = ages
        self._kept: Kept | None = None

    def prepare(self, items: Found) -> Kept:
        """Compute the shares of those items that have none yet."""
        return self._prepared(items.shelf, items.positions)

    def _prepared(self, shelf: Shelf, positions: I64) -> Kept:
        kept = self._on(shelf)
        if not kept.there[positions].all():
            new, rows = np.unique(positions[~kept.there[positions]]), shelf.rows  # several users may ask for one item
            for at in range(0, len(new), ROWS_A_RUN):
                some = new[at : at + ROWS_A_RUN]
                kept.values[some] = self._of_rows(rows.numbers[some], rows.keys[some, 1:])
                kept.there[some] = True
        return kept

    def add(
        self, shelf: Shelf, positions: I64, ends: Sequence[int], of_users: F32, of_levels: tuple[F32, F32],
        found: Affinities, out: F32,
    ) -> None:  # fmt: skip
        """Write the first layer's answers for the items at `positions` (n,) of a shelf, one user's behind the other's,
        into `out`, float32 (n, hidden): relu of the sums of all shares.

        ends: where each user's items end. of_users: float32 (users, hidden). of_levels: those of the affinities of
        items and of categories, float32 (levels, rows, hidden), of which the rows of `found` are each item's.
        """
        kept = self._on(shelf)
        others = (
            positions, np.array(ends, np.int64), of_users, *of_levels, found.rows, found.ages, self._ages.shape,
            self._ages.kernel,
        )  # fmt: skip
        if _add(out, kept.values, kept.there, *others) != ALL:
            kept = self._prepared(shelf, positions)
            _add(out, kept.values, kept.there, *others)

    def _on(self, shelf: Shelf) -> Kept:
        kept = self._kept
        if kept is None or kept.shelf is not shelf:
            values = np.empty((shelf.capacity, self._ages.kernel.shape[1]), np.float32)
            kept = self._kept = Kept(shelf, values, np.zeros(shelf.capacity, np.bool_))
        return kept
