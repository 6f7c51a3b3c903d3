"""The scoring core: arrays in, arrays out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


def softmax(logits: F32, temperature: float = 1.0) -> F32:
    """Probabilities over the last axis, shape (n,); the maximum is subtracted first, so any finite logit is safe.

    A temperature however small is safe too: what would overflow becomes 0.
    """
    with np.errstate(over="ignore"):
        z = (logits.astype(np.float64) - float(logits.max())) / temperature
    e = np.exp(z)
    probabilities: F32 = (e / e.sum()).astype(np.float32)
    return probabilities


def best(logits: F32, k: int) -> npt.NDArray[np.intp]:
    """Positions of the k largest of n logits, largest first; equal ones keep their order. 1 ≤ k ≤ n."""
    n = len(logits)
    if k == n:
        return np.argsort(-logits, kind="stable")
    threshold = np.partition(logits, n - k)[n - k]
    (above,) = np.nonzero(logits >= threshold)
    return above[np.argsort(-logits[above], kind="stable")[:k]]
