"""Arrays in one file, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def write_arrays(path: Path, **arrays: npt.NDArray[Any] | str) -> None:
    """Write them by their names, so that `np.load` reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp.npz")
    np.savez(staged, **arrays)  # type: ignore[arg-type]
    staged.replace(path)
