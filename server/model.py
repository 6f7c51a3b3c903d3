"""The active model: a verified bundle in an ONNX Runtime session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from feature_repo import schema
from feature_repo.transforms import ModelInput
from shoprank import bundle
from shoprank.errors import BundleError

F32 = npt.NDArray[np.float32]
GOLDEN_TOLERANCE = 1e-4
OUTPUTS = ["probability", "logit"]


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded bundle."""

    manifest: bundle.Manifest
    session: ort.InferenceSession

    def score(self, inputs: ModelInput) -> tuple[F32, F32]:
        """Calibrated probabilities and log-odds, float32 (n,) each, of n rows."""
        probability, logit = self.session.run(OUTPUTS, {"numeric": inputs.numeric, "categorical": inputs.categorical})
        return probability, logit


def load(directory: Path, threads: int = 1) -> Model:
    """Load the bundle in `directory` once its hashes, feature schema and golden answers hold.

    Raises BundleError naming what does not.
    """
    manifest = bundle.verify(directory)
    if manifest.kind != "ranking":
        raise BundleError(f"{directory}: a model of kind {manifest.kind}; this server serves kind ranking")
    check_schema(directory, manifest)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(directory / bundle.MODEL), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a type of its own for each way to fail, with no common base
        raise BundleError(f"{directory / bundle.MODEL}: cannot be loaded: {error}") from error
    model = Model(manifest, session)
    check_golden(directory, model)
    return model


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
        probability, _ = model.score(ModelInput(golden["numeric"], golden["categorical"]))
        difference = float(np.abs(probability - golden["probability"]).max())
    if not difference <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"{directory}: golden answers differ by {difference:.2e} in probability, more than {GOLDEN_TOLERANCE:.0e}"
        )
