"""Finding keys of the feature store among the catalogue's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feature_repo.transforms import I64
from server.retrieval.kernels import find_keys

I32 = npt.NDArray[np.int32]
KEY_BITS = 63


class KeyIndex:
    """Places of keys, distinct, among some of them. Keys are hashes, so their upper bits spread evenly."""

    def __init__(self, keys: I64) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys: I64 = np.ascontiguousarray(keys[order], np.int64)
        self._order: I32 = order.astype(np.int32)
        self._sorted = bool((np.diff(order) == 1).all())
        bits = max(1, len(keys).bit_length())
        self._shift = KEY_BITS - bits
        edges = np.arange((1 << bits) + 1, dtype=np.uint64) << np.uint64(self._shift)
        self._starts: I32 = np.searchsorted(self._keys.astype(np.uint64), edges).astype(np.int32)

    def find(self, keys: I64) -> I32:
        """Place of each key (n,) in the order the index was made with; -1 where it is not there."""
        out = np.empty(len(keys), np.int32)
        find_keys(keys, self._keys, self._starts, self._shift, out)
        if self._sorted:
            return out
        found: I32 = np.where(out >= 0, self._order[out], np.int32(-1))
        return found
