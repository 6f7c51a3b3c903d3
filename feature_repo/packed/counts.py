"""What reading met, for whoever watches the store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feature_repo.packed.forks import Locked
from feature_repo.packed.rows import Status


class Counts(Locked):
    """Rows that were read since the store was opened, by what became of them."""

    def __init__(self) -> None:
        super().__init__()
        self._counts = [0] * len(Status)

    def add(self, statuses: Sequence[Status] | npt.NDArray[np.uint8]) -> None:
        """Count rows, a status each."""
        content = bytes(statuses)
        with self._lock:
            self._counts = [count + content.count(status) for status, count in enumerate(self._counts)]

    def get(self) -> dict[str, int]:
        """Rows by status, such as `{"found": 10, …}`."""
        with self._lock:
            counts = list(self._counts)
        return {status.name.lower(): counts[status] for status in Status}
