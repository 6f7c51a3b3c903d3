"""The multilayer perceptron, in Keras: ŷ = σ(W₃·relu(W₂·relu(W₁·x))).

Three models share its layers. The scorer maps columns to logits and the 64-wide behaviour embedding; the
trainer adds the sampling offset to the logit that means "buy" (King & Zeng, Logistic Regression in Rare
Events Data, 2001), so that the scorer's own log-odds are those of the population that was not sampled; the
server's model adds calibration and is the one exported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from training.calibration import Calibration
from training.encoding import CLIP, Encoding, Normalization

Head = Literal["sigmoid", "softmax"]
EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shape of the network.

    head: `sigmoid` (one logit, binary cross-entropy) or `softmax` (two logits, categorical cross-entropy; the
    score is their difference). hidden: widths of the two hidden layers. category_width: width of each
    category's embedding. dropout: rate after the first hidden layer. l2: weight penalty. batch_norm:
    normalize before each relu.
    """

    head: Head = "sigmoid"
    hidden: tuple[int, int] = (128, 64)
    category_width: int = 8
    dropout: float = 0.0
    l2: float = 0.0
    batch_norm: bool = False


@keras.saving.register_keras_serializable("shoprank")
class Normalize(layers.Layer):  # type: ignore[misc]
    """`Normalization.apply` as a layer: (n, F) with NaN to (n, F + I)."""

    def __init__(self, normalization: Normalization, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.normalization = normalization
        std = normalization.std.astype(np.float64)
        self.scale = (1 / std).astype(np.float32)[None]
        self.shift = (-normalization.mean / std).astype(np.float32)[None]

    def call(self, numeric: Any) -> Any:
        n = self.normalization
        missing = tf.math.is_nan(numeric)
        y = tf.math.log(tf.maximum((numeric - n.start[None]) * n.rate[None], np.float32(1)))
        if n.signed:
            start, mirror = (-n.start)[None], (-n.mirror)[None]
            y = y - tf.math.log(tf.maximum((numeric - start) * mirror, np.float32(1)))
        z = tf.clip_by_value(y * self.scale + self.shift, np.float32(-CLIP), np.float32(CLIP))
        z = tf.where(missing, np.float32(0), z)
        if not len(n.indicators):
            return z
        return tf.concat([z, tf.cast(tf.gather(missing, n.indicators, axis=1), tf.float32)], axis=1)


@keras.saving.register_keras_serializable("shoprank")
class CategoryEmbedding(layers.Layer):  # type: ignore[misc]
    """Indices (n, C) to their embeddings side by side (n, C·width); every column's table is a part of one."""

    def __init__(self, sizes: tuple[int, ...], width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.base = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)[None]
        self.shape = (int(sum(sizes)), width)
        self.width = len(sizes) * width

    def build(self, input_shape: Any) -> None:
        self.table = self.add_weight(
            shape=self.shape, initializer=keras.initializers.RandomNormal(stddev=0.05), name="table"
        )

    def call(self, index: Any) -> Any:
        return tf.reshape(tf.gather(self.table, index + self.base), [-1, self.width])


def inputs_of(encoding: Encoding) -> list[Any]:
    """The Keras inputs: `numeric` float32 (n, F) and `index` int64 (n, C), each only where there are such
    columns.
    """
    numeric, categorical = len(encoding.columns.numeric), len(encoding.columns.categorical)
    inputs = []
    if numeric:
        inputs.append(keras.Input((numeric,), dtype="float32", name="numeric"))
    if categorical:
        inputs.append(keras.Input((categorical,), dtype="int64", name="index"))
    return inputs


def build_scorer(
    architecture: Architecture,
    encoding: Encoding,
    seed: int,
    numbers: layers.Layer | None = None,
    beside: int = 0,
    crossed: layers.Layer | None = None,
) -> keras.Model:
    """The scorer: columns to logits, (n, 1) or (n, 2) for softmax, and the behaviour embedding (n, 64).

    Sets every seed, so the same seed gives the same initial weights. numbers: what encodes the numeric columns, their
    normalization where none is given. beside: width of a further input, `beside` float32 (n, beside), that joins the
    encoded columns as it is. crossed: what the columns pass before the first hidden layer.
    """
    keras.utils.set_random_seed(seed)
    inputs = inputs_of(encoding)
    parts = []
    for x in inputs:
        if x.name == "numeric":
            parts.append((numbers or Normalize(encoding.normalization, name="normalize"))(x))
        else:
            sizes = encoding.vocabulary.sizes
            parts.append(CategoryEmbedding(sizes, architecture.category_width, name="categories")(x))
    if beside:
        inputs.append(keras.Input((beside,), dtype="float32", name="beside"))
        parts.append(inputs[-1])
    x = layers.Concatenate(name="columns")(parts) if len(parts) > 1 else parts[0]
    x = crossed(x) if crossed else x
    penalty = keras.regularizers.L2(architecture.l2) if architecture.l2 else None
    for width, name in zip(architecture.hidden, ("hidden", EMBEDDING), strict=True):
        if architecture.batch_norm:
            x = layers.Dense(width, kernel_regularizer=penalty, use_bias=False, name=f"{name}_linear")(x)
            x = layers.ReLU(name=name)(layers.BatchNormalization(name=f"{name}_norm")(x))
        else:
            x = layers.Dense(width, "relu", kernel_regularizer=penalty, kernel_initializer="he_normal", name=name)(x)
        if architecture.dropout and name == "hidden":
            x = layers.Dropout(architecture.dropout, seed=seed, name="dropout")(x)
    logits = layers.Dense(2 if architecture.head == "softmax" else 1, name="logits")(x)
    return keras.Model(inputs, [logits, x], name="scorer")


def build_trainer(scorer: keras.Model, head: Head) -> keras.Model:
    """The scorer with a further input `offset` (n, 1), added to the logit that means "buy"; yields training
    logits.
    """
    offset = keras.Input((1,), dtype="float32", name="offset")
    logits, _ = scorer(scorer.inputs)
    if head == "softmax":
        offset_of_both = ops.concatenate([ops.zeros_like(offset), offset], axis=1)
        return keras.Model([*scorer.inputs, offset], logits + offset_of_both, name="trainer")
    return keras.Model([*scorer.inputs, offset], logits + offset, name="trainer")


def averaging(span: float) -> dict[str, Any]:
    """An optimizer's options for keeping the mean of weights over about `span` steps; none where that is one step."""
    return {"use_ema": True, "ema_momentum": 1 - 1 / span} if span > 1 else {}


def loss_of(head: Head) -> keras.losses.Loss:
    """Cross-entropy of the head's logits: binary for one, categorical for two."""
    if head == "softmax":
        return keras.losses.CategoricalCrossentropy(from_logits=True)
    return keras.losses.BinaryCrossentropy(from_logits=True)


def score_weights(scorer: keras.Model) -> tuple[np.ndarray[Any, Any], float]:
    """Weights (64,) and bias that map the embedding to the log-odds of buying, whatever the head."""
    kernel, bias = scorer.get_layer("logits").get_weights()
    if kernel.shape[1] == 2:
        return kernel[:, 1] - kernel[:, 0], float(bias[1] - bias[0])
    return kernel[:, 0], float(bias[0])


def build_server_model(scorer: keras.Model, calibration: Calibration) -> keras.Model:
    """The model to export: `probability` (n,), `logit` (n,), both calibrated, and `embedding` (n, 64).

    The two logits of a softmax head and the affine part of calibration are folded into one last layer.
    """
    kernel, bias = score_weights(scorer)
    embedding = scorer.outputs[1]
    last = layers.Dense(1, name="score")
    z = last(embedding)
    last.set_weights(
        [
            (kernel * calibration.slope).astype(np.float32)[:, None],
            np.array([bias * calibration.slope + calibration.intercept], np.float32),
        ]
    )
    if len(calibration.knots):
        z = Bend(calibration, name="bend")(z)
    logit = layers.Reshape((), name="logit")(z)
    return keras.Model(scorer.inputs, [ops.sigmoid(logit), logit, embedding], name="server")


@keras.saving.register_keras_serializable("shoprank")
class Bend(layers.Layer):  # type: ignore[misc]
    """The piecewise-linear part of `Calibration.apply`, on logits (n, 1) that its affine part has already
    mapped.
    """

    def __init__(self, calibration: Calibration, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.knots = calibration.knots.astype(np.float32)[None]
        self.bends = calibration.bends.astype(np.float32)[:, None]

    def call(self, z: Any) -> Any:
        return z + tf.matmul(tf.nn.relu(z - self.knots), self.bends)
