"""What runs the model in a peer: ONNX Runtime in its process, an inference server, or TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt

from feature_repo.transforms import F32, ModelInput

PROTO = "benchmarks/peers/open_inference.proto"
MODEL_NAME = "purchase"
OUTPUTS = ("probability", "logit")


class Model(Protocol):
    """Scores rows."""

    def score(self, inputs: ModelInput) -> tuple[F32, F32]:
        """Probabilities and log-odds, float32 (n,) each."""
        ...


class OnnxRuntime:
    """The bundle's graph in this process, one thread, as our server runs it."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def score(self, inputs: ModelInput) -> tuple[F32, F32]:
        """One run."""
        feeds = {"numeric": inputs.numeric, "categorical": inputs.categorical}
        probability, logit = self._session.run(list(OUTPUTS), feeds)
        return probability, logit


class InferenceServer:
    """A server of the Open Inference Protocol over gRPC; tensors travel as raw bytes."""

    def __init__(self, address: str) -> None:
        self._messages, services = grpc.protos_and_services(PROTO)
        self._stub = services.GRPCInferenceServiceStub(grpc.insecure_channel(address))

    def score(self, inputs: ModelInput) -> tuple[F32, F32]:
        """One call."""
        tensor = self._messages.ModelInferRequest.InferInputTensor
        wanted = self._messages.ModelInferRequest.InferRequestedOutputTensor
        arrays: dict[str, tuple[str, npt.NDArray[Any]]] = {
            "numeric": ("FP32", inputs.numeric),
            "categorical": ("INT64", inputs.categorical),
        }
        answer = self._stub.ModelInfer(
            self._messages.ModelInferRequest(
                model_name=MODEL_NAME,
                inputs=[tensor(name=name, datatype=kind, shape=a.shape) for name, (kind, a) in arrays.items()],
                outputs=[wanted(name=name) for name in OUTPUTS],
                raw_input_contents=[a.tobytes() for _, a in arrays.values()],
            ),
            timeout=30,
        )
        found = {output.name: _values(answer, i) for i, output in enumerate(answer.outputs)}
        return found["probability"], found["logit"]


def _values(answer: Any, number: int) -> F32:
    if answer.raw_output_contents:
        return np.frombuffer(answer.raw_output_contents[number], "<f4")
    return np.array(answer.outputs[number].contents.fp32_contents, np.float32)


class TensorFlow:
    """A SavedModel in this process, one thread."""

    def __init__(self, directory: Path) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._tf = tf
        self._model = tf.saved_model.load(str(directory))

    def score(self, inputs: ModelInput) -> tuple[F32, F32]:
        """One run of the exported function."""
        constant = self._tf.constant
        probability, logit = self._model.score(constant(inputs.numeric), constant(inputs.categorical))
        return probability.numpy(), logit.numpy()
