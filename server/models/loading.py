"""Opens a bundle of any kind, once everything about it holds, and makes it ready to answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.transforms import ModelInput
from server.models.model import GOLDEN_TOLERANCE, Model, load, open_graph
from shoprank import bundle
from shoprank.errors import BundleError

TENSORS = ("numeric", "categorical")


def open_bundle(directory: Path, threads: int, warmup_rows: int) -> Model:
    """The model in `directory`, `<model>/<version>`, loaded and warmed up.

    Raises BundleError where a hash, the schema or a golden answer does not hold, whatever the reason.
    """
    try:
        manifest = bundle.Manifest.read(directory)
        if (manifest.model, str(manifest.version)) != (directory.parent.name, directory.name):
            raise BundleError(f"{directory}: its manifest is of {manifest.model} version {manifest.version}")
        if bundle.GOLDEN not in manifest.files:
            raise BundleError(f"{directory / bundle.MANIFEST}: names no {bundle.GOLDEN}")
        model = load_table(directory, threads) if manifest.kind == "table" else load(directory, threads)
        warm(model, golden(directory), warmup_rows)
    except BundleError:
        raise
    except Exception as error:  # NumPy, zip files and the file system each have their own ways to fail
        raise BundleError(f"{directory}: cannot be loaded: {type(error).__name__}: {error}") from error
    return model


def golden(directory: Path) -> dict[str, npt.NDArray[np.generic]]:
    """The bundle's golden inputs, by name of the tensor; text as objects, as ONNX Runtime takes it."""
    with np.load(directory / bundle.GOLDEN) as kept:
        return {n: kept[n].astype(object) if kept[n].dtype.kind == "U" else kept[n] for n in TENSORS if n in kept}


def load_table(directory: Path, threads: int) -> Model:
    """Load a bundle of kind `table` once its hashes, inputs and golden answers hold. Raises BundleError."""
    manifest = bundle.verify(directory)
    session = open_graph(directory / bundle.MODEL, manifest, threads)
    columns = {name: len(getattr(manifest, name)) for name in TENSORS if getattr(manifest, name)}
    found = {i.name: i.shape[1] for i in session.get_inputs()}
    if found != columns:
        raise BundleError(f"{directory}: the graph's inputs are {found}, the manifest's columns {columns}")
    with np.load(directory / bundle.GOLDEN) as kept:
        expected = kept["probability"]
    (probability,) = session.run(["probability"], golden(directory))
    difference = float(np.abs(probability - expected).max())
    if not difference <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"{directory}: golden answers differ by {difference:.2e} in probability, more than {GOLDEN_TOLERANCE:.0e}"
        )
    return Model(manifest, session)


def warm(model: Model, inputs: dict[str, npt.NDArray[np.generic]], rows: int) -> None:
    """Run the model on 1, 2, 4 … rows, so that what a first run allocates is there before a caller waits for it."""
    for count in (*(1 << n for n in range((rows - 1).bit_length())), rows):
        some = {name: np.resize(array, (count, *array.shape[1:])) for name, array in inputs.items()}
        model.session.run(None, some)
        if model.towers is not None:
            model.towers.whole(ModelInput(some["numeric"], some["categorical"]))
