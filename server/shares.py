"""Shares of the first layer: those of items, kept beside their rows, and their sums with the others', compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from feature_repo.prefetch import LINE, prefetch
from feature_repo.transforms import I64
from server.items import Found, Shelf

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
ALL = -1
"""What `_add` returns where every item had its share."""
AHEAD = 8
"""Shares that are asked for ahead of the one that is added: most miss the processor's caches."""
_FLOATS = LINE // 4

_types = numba.types
_floats = [_types.Array(_types.float32, d, "C", readonly=True) for d in range(4)]
_longs, _flags = (_types.Array(kind, 1, "C", readonly=True) for kind in (_types.int64, _types.boolean))


@numba.njit(
    _types.int64(
        _types.Array(_types.float32, 2, "C"), _floats[2], _flags, _longs, _floats[1], _floats[3],
        _types.Array(_types.int32, 2, "C", readonly=True), _types.int64,
    ),
    cache=True, nogil=True,
)  # fmt: skip
def _add(out: Any, values: Any, there: Any, positions: Any, of_user: Any, of_levels: Any, rows: Any, at: int) -> Any:
    """Write the sums of shares; returns the first item that has none yet, or ALL. Arguments: see `ItemShares.add`."""
    width = values.shape[1]
    for i in range(min(AHEAD, len(positions))):
        for j in range(0, width, _FLOATS):
            prefetch(values, positions[i], j)  # type: ignore[call-arg]
    for i in range(len(positions)):
        if i + AHEAD < len(positions):
            for j in range(0, width, _FLOATS):
                prefetch(values, positions[i + AHEAD], j)  # type: ignore[call-arg]
        if not there[positions[i]]:
            return i
        item, sums = values[positions[i]], out[i]
        first, second, third = (
            of_levels[0, at + rows[i, 0]],
            of_levels[1, at + rows[i, 1]],
            of_levels[2, at + rows[i, 2]],
        )
        for j in range(width):
            sums[j] = item[j] + of_user[j] + first[j] + second[j] + third[j]
    return ALL


@dataclass(frozen=True, slots=True)
class Kept:
    """Items' shares: float32 (capacity, hidden) beside a shelf's rows, and which are there."""

    shelf: Shelf
    values: F32
    there: npt.NDArray[np.bool_]


class ItemShares:
    """Items' shares of a model's first layer, for as long as their rows are on the shelf.

    of_rows: computes them, float32 (n, hidden), of items' numbers (n, 17) and keys (n, 5). hidden: their width.
    """

    def __init__(self, of_rows: Callable[[F32, I64], F32], hidden: int) -> None:
        self._of_rows = of_rows
        self._hidden = hidden
        self._kept: Kept | None = None

    def prepare(self, items: Found) -> Kept:
        """Compute the shares of those items that have none yet."""
        kept, positions = self._on(items.shelf), items.positions
        if not kept.there[positions].all():
            new, rows = positions[~kept.there[positions]], items.shelf.rows
            kept.values[new] = self._of_rows(rows.numbers[new], rows.keys[new, 1:])
            kept.there[new] = True
        return kept

    def add(self, items: Found, of_user: F32, of_levels: F32, rows: I32, at: int, out: F32) -> None:
        """Write the sums of the items' shares and the others' into `out`, float32 (n, hidden).

        of_user: float32 (hidden,). of_levels: float32 (levels, rows, hidden), of which `rows`, int32 (n, levels),
        are each item's, counted from `at`.
        """
        kept = self._on(items.shelf)
        if _add(out, kept.values, kept.there, items.positions, of_user, of_levels, rows, at) != ALL:
            kept = self.prepare(items)
            _add(out, kept.values, kept.there, items.positions, of_user, of_levels, rows, at)

    def _on(self, shelf: Shelf) -> Kept:
        kept = self._kept
        if kept is None or kept.shelf is not shelf:
            values = np.empty((shelf.capacity, self._hidden), np.float32)
            kept = self._kept = Kept(shelf, values, np.zeros(shelf.capacity, np.bool_))
        return kept
