"""Fitted rankers kept in a folder, so that an evaluation that was interrupted goes on where it was.

A file is named by all that a ranker comes from: the lists it learned from, its settings and its teacher's, the seed,
the code that fits it and the libraries below that. Where one of these changes, it is fitted anew.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from training.ranking.lists import Lists

CODE = (
    "training.calibration",
    "training.encoding",
    "training.model",
    "training.ranking.attention",
    "training.ranking.cross",
    "training.ranking.fitting",
    "training.ranking.lists",
    "training.ranking.network",
    "training.ranking.past",
    "training.ranking.piecewise",
    "training.ranking.scorer",
    "training.ranking.trees",
    "training.teacher",
    "training.trees",
)
LIBRARIES = ("keras", "lightgbm", "numpy", "tensorflow")


@dataclass(frozen=True)
class Kept:
    """A folder of fitted rankers. lists: digest of those that they learn from and stop by."""

    folder: Path
    lists: str

    @classmethod
    def of(cls, folder: Path, train: Lists, validation: Lists) -> Kept:
        """Those fitted on these lists."""
        digest = hashlib.blake2b()
        _add(digest, train)
        _add(digest, validation)
        return cls(folder, digest.hexdigest())

    def path(self, *recipe: object) -> Path:
        """Where the ranker of these settings, which their `repr` tells apart, is kept or to be kept."""
        text = "\n".join([self.lists, _made_by(), *map(repr, recipe)])
        return self.folder / f"ranker-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"


def _add(digest: hashlib.blake2b, value: object) -> None:
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(value.ravel().view(np.uint8).data)
    elif is_dataclass(value):
        for field in fields(value):
            _add(digest, getattr(value, field.name))
    else:
        digest.update(repr(value).encode())


@cache
def _made_by() -> str:
    """Digest of the code that fits rankers, and the versions of the libraries below it."""
    digest = hashlib.sha256()
    for name in CODE:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        digest.update(Path(spec.origin).read_bytes())
    return " ".join([digest.hexdigest(), *(f"{name} {version(name)}" for name in LIBRARIES)])
