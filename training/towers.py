"""The ranking model as three graphs, for a server that scores many items for one user.

The first layer is linear in its columns: W·x = W_user·x_user + W_item·x_item + Σ W_level·x_level + W_age·x_age. What
depends on the item alone can be computed once an item; what depends on the user, or on the user and an entry of the
user's history, once a request. Only two columns, of the item and the time, remain for every candidate: whoever adds the
shares adds theirs too. The graphs give the answers of the whole one, up to the rounding of float32.
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

from feature_repo.schema import OF_AGE, OF_ITEM, OF_USER, TABLES, Part
from training.calibration import Calibration
from training.encoding import CLIP, UNSEEN, Encoding, Normalization, Vocabulary
from training.graph import IR_VERSION, ML_OPSET, OPSET, salted
from training.model import EMBEDDING, score_weights

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
LARGEST = 88.0
"""An exponent whose power of e float32 still holds."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer: kernel float32 (in, out), bias float32 (out,)."""

    kernel: F32
    bias: F32


def to_towers(scorer: keras.Model, calibration: Calibration, encoding: Encoding) -> tuple[onnx.ModelProto, ...]:
    """The graphs of the item, of the user and of the layers above the first, of a model whose columns are
    `feature_repo.schema`'s.

    Item's: `item_numeric` float32 (N, 17) and `item_categorical` int64 (N, 5) to `share` (N, hidden); whatever they
    are, `age_shape` (5, 2), start, rate, mirror, mean and std of the two ages' normalization, and `age_kernel`
    (4, hidden), their rows of the kernel and those of their being missing. User's: `user_numeric` (U, 26: the user's
    numbers, those of the time, those of both) and `user_categorical` (U, 7) to `user_share` (U, hidden); `of_items`
    (1, 13, I) and `of_categories` (2, 10, C), see `feature_repo.transforms.Affinities`, to `of_items_shares` (1, I,
    hidden) and `of_categories_shares` (2, C, hidden). Top's: `hidden` (N, hidden), relu of the sum of all shares, to
    `probability` (N,) and `logit` (N,).
    """
    hidden = dense(scorer, "hidden")
    width = hidden.kernel.shape[1]
    (embeddings,) = scorer.get_layer("categories").get_weights()
    item, user, top = (_Builder(encoding, hidden.kernel, embeddings) for _ in range(3))
    item.output(item.share("item", OF_ITEM), "share", ["N", width])
    item.ages("age", OF_AGE)
    user.output(
        user.share("user", OF_USER, rows="U", onto=user.constant("bias", hidden.bias)), "user_share", ["U", width]
    )
    for name, parts in TABLES:
        user.output(user.level_shares(name, parts), f"{name}_shares", [len(parts), f"{name}_rows", width])
    first = top.input("hidden", TensorProto.FLOAT, ["N", width])
    inner = top.add("Relu", top.dense(EMBEDDING, first, dense(scorer, EMBEDDING)))
    logit = top.logit(inner, *score_weights(scorer), calibration)
    top.output(logit, "logit", ["N"])
    top.output(top.add("Sigmoid", logit, output="probability"), "probability", ["N"])
    return item.model("item"), user.model("user"), top.model("top")


def tower_feeds(numeric: F32, categorical: npt.NDArray[np.int64]) -> tuple[dict[str, Any], ...]:
    """Rows of the whole model's input, (N, 84) and (N, 12), as those of the graphs of the item and the user.

    Each row is a user's, and has an affinity of its own at each level.
    """
    affinities = {name: np.stack([numeric[:, part.numeric].T for part in parts]) for name, parts in TABLES}
    return (
        {"item_numeric": numeric[:, OF_ITEM.numeric], "item_categorical": categorical[:, OF_ITEM.categorical]},
        {
            "user_numeric": numeric[:, OF_USER.numeric],
            "user_categorical": categorical[:, OF_USER.categorical],
            **affinities,
        },
    )


def first_layer(shares: F32, numeric: F32, shape: F32, kernel: F32) -> F32:
    """relu of sums of shares and that of the ages, (N, hidden), of rows of the whole model's numbers (N, 84)."""
    ages = numeric[:, OF_AGE.numeric]
    missing = np.isnan(ages)
    start, rate, mirror, mean, std = shape
    of_ages = Normalization(start, rate, mirror, mean, std, np.zeros(0, np.int64)).apply(ages)
    found: F32 = np.maximum(shares + np.concatenate([of_ages, missing], axis=1, dtype=np.float32) @ kernel, 0)
    return found


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

    def share(self, prefix: str, part: Part, rows: str = "N", onto: str = "") -> str:
        """The part's share of the first layer, (rows, hidden); `onto`: what it is added to."""
        name = f"{prefix}_numeric"
        x = self.input(name, TensorProto.FLOAT, [rows, len(part.numeric)])
        z, missing, scale = self._normalized(x, [part], [1, len(part.numeric)])
        columns, kernels = [z, missing], [self._of_numbers(part, scale[0]), self._of_indicators(part)]
        if part.categorical:
            columns.append(self._embedded(f"{prefix}_categorical", part.categorical, rows))
            kernels.append(self._of_categories(part.categorical))
        kernel = self.constant(f"{name}_kernel", np.concatenate(kernels))
        together = self.add("Concat", *columns, axis=1)
        return self.add("Gemm", together, kernel, onto) if onto else self.add("MatMul", together, kernel)

    def ages(self, name: str, part: Part) -> None:
        """The outputs `<name>_shape` and `<name>_kernel`: what the part's share is computed from elsewhere."""
        n, columns = self._encoding.normalization, list(part.numeric)
        shape = np.stack([each[columns] for each in (n.start, n.rate, n.mirror, n.mean, n.std)])
        kernel = np.concatenate([self._of_numbers(part, np.ones(len(columns))), self._of_indicators(part)])
        for what, value in (("shape", shape), ("kernel", kernel)):
            constant = self.constant(f"{name}_{what}_constant", value)
            self.output(constant, f"{name}_{what}", list(value.shape))

    def level_shares(self, name: str, parts: Sequence[Part]) -> str:
        """The shares of rows of each part, (parts, rows, hidden); parts are equally wide."""
        width = len(parts[0].numeric)
        x = self.input(name, TensorProto.FLOAT, [len(parts), width, f"{name}_rows"])
        z, missing, scale = self._normalized(x, parts, [len(parts), width, 1])
        kernel = np.stack(
            [
                np.concatenate([self._of_numbers(part, by), self._of_indicators(part)])
                for part, by in zip(parts, scale, strict=True)
            ]
        )
        both = self.add("Transpose", self.add("Concat", z, missing, axis=1), perm=[0, 2, 1])
        return self.add("MatMul", both, self.constant(f"{name}_kernel", kernel))

    def logit(self, x: str, kernel: npt.NDArray[Any], bias: float, calibration: Calibration) -> str:
        """Calibrated log-odds (N,) of the embedding (N, 64).

        Logits lie side by side, (1, N): ONNX Runtime multiplies one row by many columns faster than many rows by one.
        """
        weights = self.constant("score_kernel", (kernel * calibration.slope).astype(np.float32)[None])
        shift = self.constant("score_bias", [[bias * calibration.slope + calibration.intercept]])
        z = self.add("Gemm", weights, x, shift, transB=1)
        if len(calibration.knots):
            over = self.add("Relu", self.add("Sub", z, self.constant("knots", calibration.knots[:, None])))
            z = self.add("Add", z, self.add("MatMul", self.constant("bends", calibration.bends[None]), over))
        return self.add("Reshape", z, self.constant("flat", [-1], np.int64), output="logit")

    def _normalized(self, x: str, parts: Sequence[Part], shape: Sequence[int]) -> tuple[str, str, list[F64]]:
        """`Normalization.apply` of the parts' columns but for its last step, and 1.0 where a value is missing.

        shape: of the constants, (…, columns), a part a row. The last step is a factor of each column of each part: for
        the kernel behind.

        z = clip(log(max((x − start)·rate, 1)) − mean, ±5·std) / std, and log(a) − mean = log(a·e^−mean): the clip is
        one of what the logarithm is taken of. A mirrored column is a difference of two, and clipped behind it.
        """
        n = self._encoding.normalization
        columns = [list(part.numeric) for part in parts]
        std = [n.std[at].astype(np.float64) for at in columns]
        missing = self.add("IsNaN", x)
        shifted = self.add("Sub", x, self._rows(f"{x}_start", [n.start[at] for at in columns], shape))
        mirrored = any(n.mirror[at].any() for at in columns)
        y = (self._signed if mirrored else self._logarithm)(x, shifted, columns, shape)
        z = self.add("Where", missing, self.constant("zero", 0), y)
        return z, self.add("Cast", missing, to=TensorProto.FLOAT), [1 / s for s in std]

    def _logarithm(self, x: str, shifted: str, columns: Sequence[list[int]], shape: Sequence[int]) -> str:
        """log(clip((x − start)·rate·e^−mean)), of what x − start is already."""
        n = self._encoding.normalization
        rate, low, high = [], [], []
        for at in columns:
            mean, limit = n.mean[at].astype(np.float64), CLIP * n.std[at].astype(np.float64)
            rate.append(n.rate[at] * np.exp(-mean))
            low.append(np.exp(np.maximum(-mean, -limit)))
            high.append(np.exp(np.minimum(limit, LARGEST)))
        a = self.add("Mul", shifted, self._rows(f"{x}_rate", rate, shape))
        a = self.add("Max", a, self._rows(f"{x}_low", low, shape))
        return self.add("Log", self.add("Min", a, self._rows(f"{x}_high", high, shape)))

    def _signed(self, x: str, shifted: str, columns: Sequence[list[int]], shape: Sequence[int]) -> str:
        """As `_logarithm`, where a column has values on both sides of zero."""
        n, one = self._encoding.normalization, self.constant("one", 1)
        a = self.add("Mul", shifted, self._rows(f"{x}_rate", [n.rate[at] for at in columns], shape))
        other = self.add("Sub", self._rows(f"{x}_back", [-n.start[at] for at in columns], shape), x)
        b = self.add("Mul", other, self._rows(f"{x}_mirror", [n.mirror[at] for at in columns], shape))
        y = self.add("Sub", self.add("Log", self.add("Max", a, one)), self.add("Log", self.add("Max", b, one)))
        y = self.add("Sub", y, self._rows(f"{x}_mean", [n.mean[at] for at in columns], shape))
        y = self.add("Max", y, self._rows(f"{x}_low", [-CLIP * n.std[at] for at in columns], shape))
        return self.add("Min", y, self._rows(f"{x}_high", [CLIP * n.std[at] for at in columns], shape))

    def _rows(self, name: str, rows: Sequence[npt.NDArray[Any]], shape: Sequence[int]) -> str:
        """A constant of this shape with a row a part."""
        return self.constant(name, np.stack(rows).reshape(shape))

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

    def _of_numbers(self, part: Part, scale: F64) -> F32:
        """Rows of the kernel that belong to the part's numeric columns, each times a factor."""
        return (self._kernel[list(part.numeric)] * scale[:, None]).astype(np.float32)

    def _of_indicators(self, part: Part) -> F32:
        """Rows of the kernel that belong to the missing indicators of the part's columns; zero where one has none."""
        start, indicators = len(self._encoding.columns.numeric), self._encoding.normalization.indicators.tolist()
        rows = np.zeros((len(part.numeric), self._kernel.shape[1]), np.float32)
        for i, column in enumerate(part.numeric):
            if column in indicators:
                rows[i] = self._kernel[start + indicators.index(column)]
        return rows

    def _of_categories(self, columns: Sequence[int]) -> F32:
        """Rows of the kernel that belong to the embeddings of these categorical columns."""
        start = len(self._encoding.columns.numeric) + len(self._encoding.normalization.indicators)
        width = self._embeddings.shape[1]
        rows: F32 = self._kernel[[row for j in columns for row in range(start + j * width, start + (j + 1) * width)]]
        return rows

    def model(self, name: str) -> onnx.ModelProto:
        """The graph, checked."""
        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(made, full_check=True)
        return made
