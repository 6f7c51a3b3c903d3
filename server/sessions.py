"""ONNX Runtime sessions, as this server opens them."""

from __future__ import annotations

import onnxruntime as ort


def open_session(model: str | bytes, threads: int) -> ort.InferenceSession:
    """A session of the graph in a file, by its path, or of its bytes. Threads do not spin while they wait.

    Raises whatever ONNX Runtime does: it has a type of its own for each way to fail, with no common base.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
