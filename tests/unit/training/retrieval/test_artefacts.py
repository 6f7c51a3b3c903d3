"""Scores from the arrays of the file, with NumPy alone, are those of the fitted generators."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.unit.training.retrieval.test_retrieval import EVERY
from tests.world import events, write_world
from training.retrieval.artefacts import FILE, write_sources
from training.retrieval.generator import Generator
from training.retrieval.log import PurchaseLog, read_log

USER = 7


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PurchaseLog:
    shop = write_world(Path(tmp_path_factory.mktemp("shop")), events())
    return read_log(shop).before(datetime(2024, 5, 6))


def row(arrays: dict[str, npt.NDArray[Any]], name: str, index: int, width: int) -> npt.NDArray[np.float32]:
    """One row of a CSR matrix, dense."""
    start, stop = arrays[f"{name}.indptr"][index : index + 2]
    out = np.zeros(width, np.float32)
    np.add.at(out, arrays[f"{name}.indices"][start:stop], arrays[f"{name}.data"][start:stop])
    return out


def score(arrays: dict[str, npt.NDArray[Any]], items: int) -> npt.NDArray[np.float32]:
    found = np.zeros(items, np.float32)
    if "weights.data" in arrays:
        rows = len(arrays["values.indptr"]) - 1
        for place, weight in enumerate(row(arrays, "weights", USER, rows)):
            if weight:
                found += weight * row(arrays, "values", place, items)
    if "own.data" in arrays:
        found += row(arrays, "own", USER, items)
    if "users" in arrays:
        found += arrays["items"] @ arrays["users"][USER]
    if "segments" in arrays:
        found += arrays["segments"][arrays["segment"][USER]]
    found += arrays.get("everybody", np.float32(0))
    found *= arrays.get("prior", np.float32(1))
    return found


@pytest.mark.parametrize("generator", EVERY, ids=lambda generator: generator.source)
def test_a_server_needs_numpy_alone(generator: Generator, log: PurchaseLog, tmp_path: Path) -> None:
    fitted = generator.fit(log)
    write_sources(tmp_path / FILE, [generator.source], [fitted], log.catalogue)
    with np.load(tmp_path / FILE, allow_pickle=False) as kept:
        assert kept["item_ids"].tolist() == log.catalogue.item_ids.tolist()
        arrays = {name.partition("/")[2]: kept[name] for name in kept.files if "/" in name}
    expected = fitted.score(np.array([USER]))[0]
    np.testing.assert_allclose(score(arrays, log.catalogue.shape[1]), expected, rtol=1e-4, atol=1e-5)
