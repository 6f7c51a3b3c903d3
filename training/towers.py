"""The ranking model as two graphs, for a server that scores many items for one user.

The first layer is linear in its columns: W·x = W_user·x_user + W_item·x_item + W_pair·x_pair. What depends on the item
alone can be computed once an item, what depends on the user alone once a request; only the pair's columns remain for
every candidate. The two graphs give the answers of the whole one, up to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from feature_repo.schema import OF_ITEM, OF_PAIR, OF_USER, Part
from training.calibration import Calibration
from training.encoding import CLIP, UNSEEN, Encoding, Vocabulary
from training.graph import IR_VERSION, ML_OPSET, OPSET, salted
from training.model import EMBEDDING, score_weights

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer: kernel float32 (in, out), bias float32 (out,)."""

    kernel: F32
    bias: F32


def to_towers(scorer: keras.Model, calibration: Calibration, encoding: Encoding) -> tuple[onnx.ModelProto, ...]:
    """The item's graph and the pair's, of a model whose columns are `feature_repo.schema`'s.

    Item's: `item_numeric` float32 (N, 17) and `item_categorical` int64 (N, 5) to `share` (N, hidden). Pair's:
    `user_numeric` (U, 23: the user's numbers, then those of the time), `user_categorical` (U, 7), `owner` int64 (N,)
    (which user each row is of), `pair` (N, 38) and `share` (N, hidden) to `probability` (N,) and `logit` (N,).
    """
    hidden, embedding = dense(scorer, "hidden"), dense(scorer, EMBEDDING)
    (embeddings,) = scorer.get_layer("categories").get_weights()
    first = _Builder(encoding, hidden.kernel, embeddings)
    first.output(first.share("item", OF_ITEM), "share", ["N", hidden.kernel.shape[1]])
    second = _Builder(encoding, hidden.kernel, embeddings)
    of_users = second.add("Add", second.share("user", OF_USER, rows="U"), second.constant("bias", hidden.bias))
    of_user = second.add("Gather", of_users, second.input("owner", TensorProto.INT64, ["N"]), axis=0)
    together = second.add("Add", second.share("", OF_PAIR, name="pair", onto=of_user), "share")
    second.input("share", TensorProto.FLOAT, ["N", hidden.kernel.shape[1]])
    inner = second.add("Relu", second.dense("embedding", second.add("Relu", together), embedding))
    kernel, bias = score_weights(scorer)
    last = Dense(
        (kernel * calibration.slope).astype(np.float32)[:, None],
        np.array([bias * calibration.slope + calibration.intercept], np.float32),
    )
    z = second.dense("score", inner, last)
    if len(calibration.knots):
        over = second.add("Relu", second.add("Sub", z, second.constant("knots", calibration.knots[None])))
        bent = second.add("MatMul", over, second.constant("bends", calibration.bends[:, None]))
        z = second.add("Add", z, bent)
    logit = second.add("Reshape", z, second.constant("flat", np.array([-1]), np.int64), output="logit")
    second.output(logit, "logit", ["N"])
    second.output(second.add("Sigmoid", logit, output="probability"), "probability", ["N"])
    return first.model("item"), second.model("pair")


def tower_feeds(numeric: F32, categorical: npt.NDArray[np.int64]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows of the whole model's input, (N, 78) and (N, 12), as those of the two graphs; the second lacks `share`."""
    of_item = {"item_numeric": numeric[:, OF_ITEM.numeric], "item_categorical": categorical[:, OF_ITEM.categorical]}
    of_pair = {
        "user_numeric": numeric[:, OF_USER.numeric],
        "user_categorical": categorical[:, OF_USER.categorical],
        "owner": np.arange(len(numeric)),
        "pair": numeric[:, OF_PAIR.numeric],
    }
    return of_item, of_pair


def dense(scorer: keras.Model, name: str) -> Dense:
    """A dense layer of the scorer; batch normalization, where it follows one, folded into it."""
    names = {layer.name for layer in scorer.layers}
    if f"{name}_norm" not in names:
        kernel, bias = scorer.get_layer(name).get_weights()
        return Dense(kernel, bias)
    (kernel,) = scorer.get_layer(f"{name}_linear").get_weights()
    norm = scorer.get_layer(f"{name}_norm")
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return Dense((kernel * scale).astype(np.float32), (beta - mean * scale).astype(np.float32))


class _Builder:
    """Puts a graph together, node by node; tensors are named by their nodes."""

    def __init__(self, encoding: Encoding, kernel: F32, embeddings: F32) -> None:
        self._encoding = encoding
        self._kernel = kernel
        self._embeddings = embeddings
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def constant(self, name: str, value: Any, dtype: type[np.generic] = np.float32) -> str:
        self._constants[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, tensor: str, name: str, shape: Sequence[int | str]) -> None:
        if tensor != name:
            self._nodes.append(helper.make_node("Identity", [tensor], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def dense(self, name: str, x: str, layer: Dense) -> str:
        kernel, bias = self.constant(f"{name}_kernel", layer.kernel), self.constant(f"{name}_bias", layer.bias)
        return self.add("Gemm", x, kernel, bias)

    def share(self, prefix: str, part: Part, name: str = "", rows: str = "N", onto: str = "") -> str:
        """The part's share of the first layer, (rows, hidden); `onto`: what it is added to, of the same shape."""
        name = name or f"{prefix}_numeric"
        columns = [self._normalized(self.input(name, TensorProto.FLOAT, [rows, len(part.numeric)]), part)]
        missing = [int(j) for j in self._encoding.normalization.indicators if j in part.numeric]
        weights = [*part.numeric, *self._of_indicators(missing)]
        if missing:
            index = self.constant(f"{name}_indicators", [part.numeric.index(j) for j in missing], np.int64)
            gathered = self.add("Gather", f"{name}_missing", index, axis=1)
            columns.append(self.add("Cast", gathered, to=TensorProto.FLOAT))
        if part.categorical:
            columns.append(self._embedded(f"{prefix}_categorical", part.categorical, rows))
            weights += self._of_categories(part.categorical)
        x = self.add("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
        kernel = self.constant(f"{name}_kernel", self._kernel[weights])
        return self.add("Gemm", x, kernel, onto) if onto else self.add("MatMul", x, kernel)

    def _normalized(self, x: str, part: Part) -> str:
        """`Normalization.apply` of the part's columns; tells apart what is missing as `<x>_missing`."""
        n, at = self._encoding.normalization, list(part.numeric)
        missing = self.add("IsNaN", x, output=f"{x}_missing")
        one = self.constant("one", 1)
        shifted = self.add("Sub", x, self.constant(f"{x}_start", n.start[None, at]))
        y = self.add(
            "Log", self.add("Max", self.add("Mul", shifted, self.constant(f"{x}_rate", n.rate[None, at])), one)
        )
        if n.mirror[at].any():
            mirrored = self.add("Sub", self.constant(f"{x}_back", -n.start[None, at]), x)
            scaled = self.add("Mul", mirrored, self.constant(f"{x}_mirror", n.mirror[None, at]))
            y = self.add("Sub", y, self.add("Log", self.add("Max", scaled, one)))
        std = n.std.astype(np.float64)
        scale, shift = (1 / std)[None, at], (-n.mean / std)[None, at]
        z = self.add("Mul", y, self.constant(f"{x}_scale", scale))
        z = self.add("Add", z, self.constant(f"{x}_shift", shift))
        z = self.add("Clip", z, self.constant("low", -CLIP), self.constant("high", CLIP))
        return self.add("Where", missing, self.constant("zero", 0), z)

    def _embedded(self, name: str, columns: tuple[int, ...], rows: str) -> str:
        """The embeddings of the columns' categories side by side."""
        vocabulary = self._encoding.vocabulary
        salt, table = salted(Vocabulary(tuple(vocabulary.values[j] for j in columns)), strings=False)
        categorical = self.input(name, TensorProto.INT64, [rows, len(columns)])
        index = self.add(
            "LabelEncoder",
            self.add("Add", self.constant(f"{name}_salt", salt, np.int64), categorical),
            domain="ai.onnx.ml",
            keys_int64s=list(table),
            values_int64s=list(table.values()),
            default_int64=UNSEEN,
        )
        base = np.concatenate([[0], np.cumsum(vocabulary.sizes)[:-1]])[list(columns)]
        place = self.add("Add", index, self.constant(f"{name}_base", base[None], np.int64))
        embeddings = self.constant(f"{name}_embeddings", self._embeddings)
        flat = self.constant(f"{name}_shape", [-1, len(columns) * self._embeddings.shape[1]], np.int64)
        return self.add("Reshape", self.add("Gather", embeddings, place, axis=0), flat)

    def _of_indicators(self, columns: Sequence[int]) -> list[int]:
        """Rows of the kernel that belong to the missing indicators of these numeric columns."""
        start, indicators = len(self._encoding.columns.numeric), self._encoding.normalization.indicators.tolist()
        return [start + indicators.index(j) for j in columns]

    def _of_categories(self, columns: Sequence[int]) -> list[int]:
        """Rows of the kernel that belong to the embeddings of these categorical columns."""
        start = len(self._encoding.columns.numeric) + len(self._encoding.normalization.indicators)
        width = self._embeddings.shape[1]
        return [row for j in columns for row in range(start + j * width, start + (j + 1) * width)]

    def model(self, name: str) -> onnx.ModelProto:
        """The graph, checked."""
        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(made, full_check=True)
        return made
