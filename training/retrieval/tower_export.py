"""Two towers as ONNX graphs, held against Keras before they are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime as ort
import tensorflow as tf
from onnx import version_converter

from training.graph import IR_VERSION, OPSET, ExportError, rename
from training.retrieval.generator import Users
from training.retrieval.log import PurchaseLog
from training.retrieval.products import sales
from training.retrieval.two_tower import FittedTowers

ITEM, USER, VECTORS = "item_tower.onnx", "user_tower.onnx", "item_vectors.npy"
TOLERANCE = 1e-5
CHECKED = 256


def export_towers(fitted: FittedTowers, log: PurchaseLog, folder: Path) -> float:
    """Write both towers and the vectors of all items into `folder`; the largest difference from Keras is returned.

    log: what the towers were fitted on. Raises ExportError, and writes nothing, where any number of the vectors of up
    to 256 items and users differs by more than 1e-5.
    """
    towers = fitted.towers
    rows = np.linspace(0, len(fitted.vectors) - 1, min(CHECKED, len(fitted.vectors))).astype(np.intp)
    users: Users = np.arange(min(CHECKED, log.catalogue.shape[0]))
    feeds = (
        (ITEM, towers.item, towers.item_inputs(rows, sales(log, log.now))),
        (USER, towers.user, towers.user_inputs(fitted.history(users))),
    )
    graphs, worst = {}, 0.0
    for name, model, feed in feeds:
        graphs[name] = to_onnx(model)
        worst = max(worst, difference(model, graphs[name], feed))
    if not worst <= TOLERANCE:
        raise ExportError(f"{folder}: the towers in ONNX differ from Keras by {worst:.2e}, more than {TOLERANCE:.0e}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs.items():
        onnx.save(graph, folder / name)
    np.save(folder / VECTORS, fitted.vectors)
    return worst


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """A tower as ONNX: inputs under the names of the model's own, output `vector` float32 (N, d + 1)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tf2onnx

    signature = [tf.TensorSpec(i.shape, i.dtype, name=i.name) for i in model.inputs]
    converted, _ = tf2onnx.convert.from_keras(model, input_signature=signature, opset=18)
    converted = version_converter.convert_version(converted, OPSET)
    converted.ir_version = IR_VERSION
    rename(converted.graph, {converted.graph.output[0].name: "vector"})
    for value, name in zip(converted.graph.input, [i.name for i in model.inputs], strict=True):
        rename(converted.graph, {value.name: name})
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.checker.check_model(converted, full_check=True)
    return converted


def difference(model: keras.Model, graph: onnx.ModelProto, feed: dict[str, Any]) -> float:
    """Largest absolute difference of ONNX Runtime's vectors from Keras's."""
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["vector"], feed)
    return float(np.abs(found - np.asarray(model(feed, training=False))).max())
