"""The ONNX graph of a trained model: raw columns in, calibrated probabilities out, nothing left for the
server to know.

tf2onnx converts the Keras model; the category lookup, which Keras does in numpy, is grafted before it as
three nodes. Each column's categories are set apart by a salt, so that one LabelEncoder holds every column's
vocabulary.
"""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import helper, numpy_helper, version_converter

from shoprank.errors import ShoprankError
from training.encoding import FIRST, MISSING, UNSEEN, Encoding, Vocabulary

OPSET = 20
ML_OPSET = 2
IR_VERSION = 10
KEY_SALT = (1 << 57) + 0x5EED
OUTPUTS = ("probability", "logit", "embedding")


class ExportError(ShoprankError):
    """The model could not be exported faithfully; nothing was written."""


def to_onnx(server_model: keras.Model, encoding: Encoding) -> onnx.ModelProto:
    """The graph of `training.model.build_server_model`, with raw categories as input.

    Inputs: `numeric` float32 (N, F) with NaN for missing; `categorical` (N, C) int64 with 0, or string with
    "", for missing; each only where the model has such columns. Outputs: `probability` (N,), `logit` (N,),
    `embedding` (N, 64), all float32. Raises ExportError where two categories cannot be told apart.
    """
    graph = convert(server_model, encoding)
    if encoding.columns.categorical:
        graft_lookup(graph, encoding)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def convert(server_model: keras.Model, encoding: Encoding) -> onnx.ModelProto:
    """The Keras model as ONNX, its inputs and outputs named as the bundle names them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tf2onnx

    signature = [tf.TensorSpec(i.shape, i.dtype, name=i.name) for i in server_model.inputs]
    converted, _ = tf2onnx.convert.from_keras(server_model, input_signature=signature, opset=18)
    converted = version_converter.convert_version(converted, OPSET)
    converted.ir_version = IR_VERSION
    graph = converted.graph
    rename(graph, {old.name: new for old, new in zip(graph.output, OUTPUTS, strict=True)})
    for output, width in zip(graph.output, ((), (), (server_model.outputs[2].shape[1],)), strict=True):
        output.type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ["N", *width]))
    for value, name in zip(graph.input, [i.name for i in server_model.inputs], strict=True):
        rename(graph, {value.name: name})
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return converted


def rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename tensors throughout the graph."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def graft_lookup(model: onnx.ModelProto, encoding: Encoding) -> None:
    """Replace the input `index` by `categorical` and the lookup from one to the other, in place."""
    strings = encoding.columns.categorical_type == "string"
    width = len(encoding.columns.categorical)
    kind = onnx.TensorProto.STRING if strings else onnx.TensorProto.INT64
    salt, table = salted(encoding.vocabulary, strings)
    keys = {"keys_strings" if strings else "keys_int64s": list(table)}
    nodes = [
        helper.make_node("StringConcat" if strings else "Add", ["salt", "categorical"], ["salted"], "salt"),
        helper.make_node(
            "LabelEncoder",
            ["salted"],
            ["index"],
            "lookup",
            domain="ai.onnx.ml",
            values_int64s=list(table.values()),
            default_int64=UNSEEN,
            **keys,
        ),
    ]
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(salt, "salt"))
    inputs = [
        helper.make_tensor_value_info("categorical", kind, ["N", width]) if i.name == "index" else i
        for i in graph.input
    ]
    lookup_then_model = [*nodes, *graph.node]
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs)
    graph.node.extend(lookup_then_model)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))


def salted(vocabulary: Vocabulary, strings: bool) -> tuple[np.ndarray[Any, Any], dict[Any, int]]:
    """Salt (1, C) of the columns and the index of each salted category.

    A text is salted by its column's number before it, a key by a large step a column (keys are 63-bit and not
    negative, so no sum overflows). Raises ExportError where two salted categories are equal.
    """
    salts: list[Any] = [f"{j}\x1f" if strings else -j * KEY_SALT for j in range(len(vocabulary.values))]
    table: dict[Any, int] = {}
    for salt, values in zip(salts, vocabulary.values, strict=True):
        entries = [
            ("" if strings else 0, MISSING),
            *zip(values.to_pylist(), range(FIRST, len(values) + FIRST), strict=True),
        ]
        for value, index in entries:
            if salt + value in table:
                raise ExportError(f"category {value!r} collides with another column's; rename one of them")
            table[salt + value] = index
    return np.array([salts], object if strings else np.int64), table
