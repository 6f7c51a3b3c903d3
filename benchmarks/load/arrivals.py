"""When calls are due in an open loop."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Arrivals = Literal["poisson", "constant"]


def arrivals(kind: Arrivals, rate: float, seconds: float, seed: int) -> F64:
    """Moments of calls in seconds from the start, ascending, below `seconds`.

    rate: calls a second, above 0. `poisson`: independent exponential gaps, as of many users who do not know of each
    other; `constant`: equal gaps. The same seed gives the same moments.
    """
    if kind == "constant":
        return np.arange(int(rate * seconds)) / rate
    rng = np.random.default_rng(seed)
    expected = rate * seconds
    gaps = rng.exponential(1 / rate, int(expected + 10 * expected**0.5 + 10))
    moments = np.cumsum(gaps)
    return moments[moments < seconds]
