"""Writes a trained model as a bundle, after holding ONNX Runtime's answers against Keras's."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pyarrow as pa

from feature_repo import schema
from shoprank import bundle
from training.encoding import Encoding
from training.fit import Trained
from training.graph import ExportError, to_onnx
from training.model import build_server_model
from training.reference import fit_reference
from training.settings import Progress, silent
from training.shards import RANKING, Block, Split
from training.towers import first_layer, to_towers, tower_feeds

TOLERANCE = 1e-5
GOLDEN_ROWS = 64
STAGED = ".staged."
LIBRARIES = ("keras", "lightgbm", "numpy", "onnx", "onnxruntime", "pyarrow", "scikit-learn", "tensorflow", "tf2onnx")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the manifest says of a bundle beyond the trained model itself.

    kind: `ranking` or `table`. feature_service: names the Feast service of a model and version that provides
    the inputs; None where no service does. notes: entries added to the manifest's `training`, such as a
    table's label.
    """

    model: str
    kind: Literal["ranking", "table"] = "ranking"
    feature_service: Callable[[str, int], str] | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def export_bundle(
    trained: Trained,
    test: Split,
    repository: Path,
    identity: Identity,
    progress: Progress = silent,
    retrieval: Callable[[Path], None] | None = None,
) -> Path:
    """Write `repository/<model>/<next version>/`, make it the active version and return its directory.

    retrieval: writes the sources of candidates into the file it is given; without it the bundle has none.

    Raises ExportError, and writes nothing, where any probability of the test split differs by more than 1e-5 between
    Keras and ONNX Runtime.
    """
    graph = to_onnx(build_server_model(trained.scorer, trained.calibration), trained.encoding)
    session = open_session(graph)
    towers: tuple[onnx.ModelProto, ...] = ()
    if trained.encoding.columns == RANKING:
        towers = to_towers(trained.scorer, trained.calibration, trained.encoding)
    difference = parity(trained, session, [open_session(tower) for tower in towers], test, progress)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{identity.model}: ONNX Runtime differs from Keras by {difference:.2e} in probability over the "
            f"{len(test)} test rows, more than {TOLERANCE:.0e}; the bundle was not written"
        )

    def fill(staged: Path, number: int) -> bundle.Manifest:
        onnx.save(graph, staged / bundle.MODEL)
        for tower, name in zip(towers, bundle.TOWERS, strict=False):
            onnx.save(tower, staged / name)
        answers: dict[str, Any] = golden(trained.encoding, session, test)
        np.savez(staged / bundle.GOLDEN, **answers)
        if identity.kind == "ranking":
            write_reference(trained, session, test, staged)
        if retrieval is not None:
            retrieval(staged / bundle.RETRIEVAL)
        return describe(trained, identity, number, difference)

    return write_version(repository, identity.model, fill)


def write_version(repository: Path, model: str, fill: Callable[[Path, int], bundle.Manifest]) -> Path:
    """Write `repository/<model>/<next version>/`, make it the active version and return its directory.

    fill: writes the files into the folder it is given, of the version's number, and returns the manifest, to which
    their hashes are added here. The folder lies beside the versions under a hidden name and is renamed into place once
    all is on disk, so that an interrupted job leaves nothing to be seen; what one left that was killed is removed by
    the next. Of several jobs that write at a time each waits for those before it. Raises ExportError where a file
    cannot be written.
    """
    home = repository / model
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _alone(repository):
            for left in home.glob(f"{STAGED}*"):
                shutil.rmtree(left)
            number = max(bundle.versions(repository, model), default=0) + 1
            staged = home / f"{STAGED}{number}"
            try:
                staged.mkdir()
                manifest = fill(staged, number)
                hashes = {path.name: bundle.sha256(path) for path in sorted(staged.iterdir())}
                (staged / bundle.MANIFEST).write_text(replace(manifest, files=hashes).to_json())
                sync(staged)
                staged.rename(home / str(number))
            finally:
                shutil.rmtree(staged, ignore_errors=True)
            return bundle.activate(repository, model, number)
    except OSError as error:
        raise ExportError(f"{home}: {error}") from error


@contextmanager
def _alone(repository: Path) -> Iterator[None]:
    """Enclose the writing of a version. The lock ends with the process, however that ends."""
    descriptor = os.open(repository, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def open_session(graph: onnx.ModelProto, threads: int = 0) -> ort.InferenceSession:
    """An ONNX Runtime session of the graph on the CPU; 0 threads means one a core."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feeds(encoding: Encoding, block: Block) -> dict[str, npt.NDArray[Any]]:
    """A block's rows as the graph's inputs."""
    both = {"numeric": block.numeric, "categorical": np.ascontiguousarray(block.categorical)}
    columns = {"numeric": encoding.columns.numeric, "categorical": encoding.columns.categorical}
    return {name: array for name, array in both.items() if columns[name]}


def parity(
    trained: Trained,
    session: ort.InferenceSession,
    towers: Sequence[ort.InferenceSession],
    test: Split,
    progress: Progress = silent,
) -> float:
    """Largest absolute difference of probabilities between Keras and ONNX Runtime over the split, towers included."""
    worst, done = 0.0, 0
    for block in test.blocks():
        expected = 1 / (1 + np.exp(-trained.logits(block)))
        (found,) = session.run(["probability"], feeds(trained.encoding, block))
        gap = np.abs(found - expected)
        if towers:
            gap = np.maximum(gap, np.abs(by_towers(towers, block) - expected))
        worst = float("nan") if np.isnan(gap).any() else max(worst, float(gap.max()))
        done += len(block)
        progress("compare", done, len(test))
        if np.isnan(worst):
            break
    return worst


def by_towers(towers: Sequence[ort.InferenceSession], block: Block) -> npt.NDArray[np.float32]:
    """Probabilities (n,) of a block's rows by the graphs of the item, the user and the layers above the first."""
    item, user, top = towers
    of_item, of_user = tower_feeds(block.numeric, np.ascontiguousarray(block.categorical))
    of_items, shape, kernel = item.run(["share", "age_shape", "age_kernel"], of_item)
    of_users, *of_levels = user.run(["user_share", *(f"{name}_shares" for name, _ in schema.TABLES)], of_user)
    shares = of_items + of_users + np.concatenate(of_levels).sum(axis=0)
    hidden = first_layer(shares, block.numeric, shape, kernel)
    (probability,) = top.run(["probability"], {"hidden": hidden})
    found: npt.NDArray[np.float32] = probability
    return found


def golden(encoding: Encoding, session: ort.InferenceSession, test: Split) -> dict[str, npt.NDArray[Any]]:
    """Inputs of up to 64 test rows with the graph's answers; the last two rows are all missing and all
    unseen.

    Strings are fixed-width unicode, so the file loads without pickle.
    """
    block = next(test.blocks())
    rows = block.take(np.linspace(0, len(block) - 1, min(GOLDEN_ROWS - 2, len(block))).astype(np.intp))
    numeric = np.concatenate([rows.numeric, np.full((2, rows.numeric.shape[1]), np.nan, np.float32)])
    categorical = np.concatenate([rows.categorical, unknown_categories(encoding)])
    inputs = feeds(encoding, replace(rows, numeric=numeric, categorical=categorical))
    answers = dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs), strict=True))
    readable = {n: a.astype(np.str_) if a.dtype == object else a for n, a in inputs.items()}
    return {**readable, **answers}


def write_reference(trained: Trained, session: ort.InferenceSession, test: Split, staged: Path) -> None:
    """Add the distribution of the test split's inputs and probabilities to the bundle."""

    def probability(block: Block) -> npt.NDArray[np.float32]:
        (found,) = session.run(["probability"], feeds(trained.encoding, block))
        return np.asarray(found)

    fit_reference(trained.encoding, test, probability, trained.settings.seed).write(staged / bundle.REFERENCE)


def unknown_categories(encoding: Encoding) -> npt.NDArray[Any]:
    """Two rows of categories (2, C): every one missing, every one never seen."""
    strings = encoding.columns.categorical_type == "string"
    out = np.empty((2, len(encoding.columns.categorical)), object if strings else np.int64)
    for j, values in enumerate(encoding.vocabulary.values):
        out[0, j] = "" if strings else 0
        out[1, j] = _unseen(values)
    return out


def _unseen(values: pa.Array) -> Any:
    known = set(values.to_pylist())
    candidates: Iterable[Any] = (f"never seen {i}" for i in range(len(known) + 1))
    if pa.types.is_integer(values.type):
        candidates = (schema.key_of(text) for text in candidates)
    return next(value for value in candidates if value not in known)


def describe(trained: Trained, identity: Identity, number: int, difference: float) -> bundle.Manifest:
    """The manifest, but for the files."""
    columns = trained.encoding.columns
    return bundle.Manifest(
        model=identity.model,
        version=number,
        kind=identity.kind,
        head=trained.settings.architecture.head,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        numeric=columns.numeric,
        categorical=columns.categorical,
        categorical_type=columns.categorical_type,
        schema_hash=schema.schema_hash(columns.numeric, columns.categorical),
        feature_service=identity.feature_service(identity.model, number) if identity.feature_service else "",
        training={**trained.training, **identity.notes},
        metrics={**trained.metrics, "export_difference": difference},
        thresholds=trained.thresholds,
        libraries={name: library_version(name) for name in LIBRARIES},
    )


def sync(directory: Path) -> None:
    """Force every file of the directory, and the directory, onto the disk."""
    for path in (*directory.iterdir(), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
