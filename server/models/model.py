"""The active model: a verified bundle in ONNX Runtime sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from feature_repo import schema
from feature_repo.shop import require_same_shop
from feature_repo.transforms import ModelInput, assemble, pair_features_of
from server.items import Found
from server.onnx_file import refuse_external_data
from server.retrieval.retriever import Retriever
from server.sessions import open_session
from server.towers import Asked, Towers
from shoprank import bundle
from shoprank.errors import BundleError

F32 = npt.NDArray[np.float32]
GOLDEN_TOLERANCE = 1e-4
OUTPUTS = ["probability", "logit"]
FEW = 20
"""Items that one run of the whole graph takes no longer for than two runs of the towers'."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded bundle, equal to itself alone. towers: the same model in parts, where the bundle has them. retriever:
    what proposes candidates, where it has that."""

    manifest: bundle.Manifest
    session: ort.InferenceSession
    towers: Towers | None = None
    retriever: Retriever | None = None

    def run(self, inputs: ModelInput) -> tuple[F32, F32]:
        """Calibrated probabilities and log-odds, float32 (n,) each, of n rows of the whole model's input."""
        probability, logit = self.session.run(OUTPUTS, {"numeric": inputs.numeric, "categorical": inputs.categorical})
        return probability, logit

    def score(self, asked: Asked) -> tuple[F32, F32]:
        """Calibrated probabilities and log-odds, float32 (n,) each, of one user's items."""
        if self.towers is not None and len(asked.items) > FEW:
            return self.towers.score(asked)
        return self.run(assembled(asked))

    def prepare(self, items: Found) -> None:
        """Compute what depends on these items alone, so that no request has to."""
        if self.towers is not None and len(items):
            self.towers.shares.prepare(items)

    def score_all(self, asked: Sequence[Asked]) -> tuple[F32, F32]:
        """As `score`, of several users' items one behind the other, in one run."""
        if self.towers is not None:
            return self.towers.score_all(asked)
        rows = [assembled(one) for one in asked]
        return self.run(
            ModelInput(np.concatenate([r.numeric for r in rows]), np.concatenate([r.categorical for r in rows]))
        )


def require_own_shop(model: Model, item_ids: Sequence[str], data: Path) -> None:
    """Raise OtherShop where hardly any item that the model proposes is among these, the catalogue of a data folder. One
    without sources of candidates names no items, so nothing can be told of it."""
    if model.retriever is not None:
        name = f"{model.manifest.model} version {model.manifest.version}"
        require_same_shop(model.retriever.item_ids, item_ids, data, name)


def assembled(asked: Asked) -> ModelInput:
    """The whole model's input of one user's items."""
    shelf, positions = asked.items.shelf, asked.items.positions
    pair = pair_features_of(asked.user, shelf.facts, positions, asked.time)
    return assemble(asked.user, shelf.rows.take(positions), asked.time, pair)


def load(directory: Path, threads: int = 1) -> Model:
    """Load the bundle in `directory` once its hashes, feature schema and golden answers hold.

    Raises BundleError naming what does not.
    """
    manifest = bundle.verify(directory)
    if manifest.kind != "ranking":
        raise BundleError(f"{directory}: a model of kind {manifest.kind}; this server serves kind ranking")
    check_schema(directory, manifest)
    towers = None
    if all(name in manifest.files for name in bundle.TOWERS):
        towers = Towers(*(open_graph(directory / name, manifest, threads) for name in bundle.TOWERS))
    retriever = None
    if bundle.RETRIEVAL in manifest.files:
        retriever = Retriever.read(directory / bundle.RETRIEVAL)
    model = Model(manifest, open_graph(directory / bundle.MODEL, manifest, threads), towers, retriever)
    check_golden(directory, model)
    return model


def open_graph(path: Path, manifest: bundle.Manifest, threads: int) -> ort.InferenceSession:
    """An ONNX Runtime session of the graph. Raises BundleError where it cannot be loaded or would read other files."""
    refuse_external_data(path, manifest)
    try:
        return open_session(str(path), threads)
    except Exception as error:
        raise BundleError(f"{path}: cannot be loaded: {error}") from error


def check_schema(directory: Path, manifest: bundle.Manifest) -> None:
    """Raise BundleError where the model's inputs are not the features there are."""
    for what, theirs, ours in (
        ("numeric", manifest.numeric, schema.NUMERIC),
        ("categorical", manifest.categorical, schema.CATEGORICAL),
    ):
        if theirs != ours:
            missing = sorted(set(theirs) - set(ours)) or "none"
            extra = sorted(set(ours) - set(theirs)) or "none"
            raise BundleError(
                f"{directory}: its {what} features differ from this server's: the model alone has {missing}, the "
                f"server alone has {extra}{'' if set(theirs) != set(ours) else ', the order differs'}; train again"
            )
    if manifest.schema_hash != schema.schema_hash():
        raise BundleError(f"{directory}: schema hash {manifest.schema_hash} is not {schema.schema_hash()}")


def check_golden(directory: Path, model: Model) -> None:
    """Raise BundleError where the model does not give the answers it was exported with."""
    with np.load(directory / bundle.GOLDEN) as golden:
        inputs, expected = ModelInput(golden["numeric"], golden["categorical"]), golden["probability"]
    answers = [model.run(inputs)[0]] + ([model.towers.whole(inputs)[0]] if model.towers else [])
    difference = max(float(np.abs(probability - expected).max()) for probability in answers)
    if not difference <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"{directory}: golden answers differ by {difference:.2e} in probability, more than {GOLDEN_TOLERANCE:.0e}"
        )
