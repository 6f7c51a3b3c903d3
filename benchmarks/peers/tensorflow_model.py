"""A bundle's graph as a TensorFlow SavedModel with the same weights. Runs in this project's own environment.

`python -m benchmarks.peers.tensorflow_model MODEL.onnx FOLDER`. It knows the operators that bundles are made of.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import tensorflow as tf
from onnx import numpy_helper

Op = Callable[[dict[str, Any], list[Any]], Any]


def _cast(attributes: dict[str, Any], x: list[Any]) -> Any:
    return tf.cast(x[0], tf.as_dtype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])))


OPS: dict[str, Op] = {
    "Add": lambda a, x: x[0] + x[1],
    "Sub": lambda a, x: x[0] - x[1],
    "Mul": lambda a, x: x[0] * x[1],
    "Max": lambda a, x: tf.maximum(x[0], x[1]),
    "Min": lambda a, x: tf.minimum(x[0], x[1]),
    "MatMul": lambda a, x: tf.matmul(x[0], x[1]),
    "Relu": lambda a, x: tf.nn.relu(x[0]),
    "Sigmoid": lambda a, x: tf.sigmoid(x[0]),
    "Log": lambda a, x: tf.math.log(x[0]),
    "IsNaN": lambda a, x: tf.math.is_nan(x[0]),
    "Where": lambda a, x: tf.where(x[0], x[1], x[2]),
    "Gather": lambda a, x: tf.gather(x[0], x[1], axis=a.get("axis", 0)),
    "Concat": lambda a, x: tf.concat(x, a["axis"]),
    "Reshape": lambda a, x: tf.reshape(x[0], x[1]),
    "Cast": _cast,
}


class Scorer(tf.Module):  # type: ignore[misc]
    """The graph, node by node, as a function of its two inputs."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        unknown = {node.op_type for node in graph.node} - OPS.keys() - {"LabelEncoder", "Identity"}
        if unknown:
            raise SystemExit(f"bench: no TensorFlow for ONNX {', '.join(sorted(unknown))}")
        self._nodes = list(graph.node)
        self._constants = {t.name: tf.constant(numpy_helper.to_array(t)) for t in graph.initializer}
        self._tables = {n.output[0]: _table(n) for n in graph.node if n.op_type == "LabelEncoder"}
        self._widths = {i.name: i.type.tensor_type.shape.dim[1].dim_value for i in graph.input}
        self.score = tf.function(
            self._score,
            input_signature=[
                tf.TensorSpec((None, self._widths["numeric"]), tf.float32, "numeric"),
                tf.TensorSpec((None, self._widths["categorical"]), tf.int64, "categorical"),
            ],
        )

    def _score(self, numeric: Any, categorical: Any) -> tuple[Any, Any]:
        values = {**self._constants, "numeric": numeric, "categorical": categorical}
        for node in self._nodes:
            inputs = [values[name] for name in node.input]
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "LabelEncoder":
                found = self._tables[node.output[0]].lookup(inputs[0])
            elif node.op_type == "Identity":
                found = inputs[0]
            else:
                found = OPS[node.op_type](attributes, inputs)
            values[node.output[0]] = found
        return values["probability"], values["logit"]


def _table(node: onnx.NodeProto) -> Any:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    keys, values = attributes["keys_int64s"], attributes["values_int64s"]
    content = tf.lookup.KeyValueTensorInitializer(
        tf.constant(list(keys), tf.int64), tf.constant(list(values), tf.int64)
    )
    return tf.lookup.StaticHashTable(content, attributes.get("default_int64", -1))


def main() -> None:
    """Convert and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    scorer = Scorer(onnx.load(options.model).graph)
    tf.saved_model.save(scorer, str(options.folder))
    print(f"tensorflow: {options.folder}")


if __name__ == "__main__":
    main()
