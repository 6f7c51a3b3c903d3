"""Two towers in Keras: vectors of items and of users whose product is the logarithm of the chance of a purchase.

An item's vector is its direction over the temperature, with a bias as its last number; a user's is its direction, with
a 1 (Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, 2019, without the bias).
Both towers share the embeddings of products and of their fields. Plain functional models: tf2onnx converts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from training.retrieval.generator import pieces
from training.retrieval.histories import NONE, History
from training.retrieval.log import F32
from training.retrieval.products import BUCKETS, FIELDS, GROUP, RARE, SPANS, WORDS, Products

Encoder = Literal["pooled", "gru", "cnn"]
ITEM_ROWS = 16_384
USER_ROWS = 256


@dataclass(frozen=True)
class Towers:
    """The two models over one catalogue.

    item: index (n,), fields (n, 4), words (n, 8) int32 and sales float32 (n, 2) to vectors (n, d + 1). user: index
    (n, L), group (n, L) int32 and weights float32 (n, L) to vectors (n, d + 1).
    """

    item: keras.Model
    user: keras.Model
    products: Products

    def item_inputs(self, items: Any, sold: F32) -> dict[str, Any]:
        """Inputs of the item tower for items at positions; sold: float32 (N, 2), of the whole catalogue."""
        p = self.products
        return {"index": p.index[items], "fields": p.fields[items], "words": p.words[items], "sales": sold[items]}

    def user_inputs(self, history: History) -> dict[str, Any]:
        """Inputs of the user tower."""
        held = history.items != NONE
        index = np.where(held, self.products.index[history.items], RARE).astype(np.int32)
        group = np.where(held, self.products.fields[history.items, GROUP], 0).astype(np.int32)
        return {"history": index, "group": group, "weight": history.weights}

    def item_vectors(self, sold: F32) -> F32:
        """Of the whole catalogue, float32 (N, d + 1)."""
        parts = [
            np.asarray(self.item(self.item_inputs(rows, sold), training=False))
            for rows in pieces(np.arange(len(sold)), ITEM_ROWS)
        ]
        return np.concatenate(parts)

    def user_vectors(self, history: History) -> F32:
        """Of users with these histories, float32 (n, d + 1)."""
        parts = [
            np.asarray(self.user(self.user_inputs(history.take(rows)), training=False))
            for rows in pieces(history.items, USER_ROWS)
        ]
        return np.concatenate(parts)


def build_towers(products: Products, encoder: Encoder, width: int, length: int, temperature: float) -> Towers:
    """Towers with fresh weights. width: of a direction, d. length: of a history, L."""
    normal = keras.initializers.RandomNormal(stddev=width**-0.5)
    of_index = layers.Embedding(products.index_size, width, normal, name="products")
    of_field = layers.Embedding(products.fields_size, width, normal, name="fields_of_products")
    return Towers(
        _item_tower(of_index, of_field, width, temperature),
        _user_tower(of_index, of_field, encoder, width, length),
        products,
    )


def _item_tower(of_index: Any, of_field: Any, width: int, temperature: float) -> keras.Model:
    index = keras.Input((), dtype="int32", name="index")
    fields = keras.Input((len(FIELDS),), dtype="int32", name="fields")
    words = keras.Input((WORDS,), dtype="int32", name="words")
    sales = keras.Input((len(SPANS),), name="sales")
    of_word = layers.Embedding(BUCKETS + 1, width, keras.initializers.RandomNormal(stddev=0.05), name="words_of_text")
    spoken = ops.expand_dims(ops.cast(words > 0, "float32"), -1)
    own = ops.cast(ops.expand_dims(index > RARE, -1), "float32") * of_index(index)
    base = own + ops.sum(of_field(fields), 1) + ops.sum(of_word(words) * spoken, 1)
    hidden = layers.Dense(2 * width, "relu", name="item_hidden")(ops.concatenate([base, sales], 1))
    direction = base + layers.Dense(width, name="item_direction")(hidden)
    bias = layers.Dense(1, name="item_bias")(ops.concatenate([hidden, sales], 1))
    vector = ops.concatenate([_unit(direction) / temperature, bias], 1)
    return keras.Model([index, fields, words, sales], vector, name="item_tower")


def _user_tower(of_index: Any, of_field: Any, encoder: Encoder, width: int, length: int) -> keras.Model:
    history = keras.Input((length,), dtype="int32", name="history")
    group = keras.Input((length,), dtype="int32", name="group")
    weight = keras.Input((length,), name="weight")
    w = ops.expand_dims(weight, -1)
    own = ops.expand_dims(ops.cast(history > RARE, "float32"), -1)
    known = ops.cast(w > 0, "float32")
    bought = known * (of_index(history) * own + of_field(group))
    encoded = ENCODERS[encoder](bought, w, width)
    hidden = layers.Dense(2 * width, "relu", name="user_hidden")
    direction = layers.Dense(width, name="user_direction")
    vector = _user_vector(encoded, hidden, direction, weight)
    return keras.Model([history, group, weight], vector, name="user_tower")


def tower_of_sums(towers: Towers) -> keras.Model:
    """The user tower of pooled towers, for what is known of each item bought instead of each purchase.

    history and group (n, h) int32, steady and recent (n, h) float32, for any h, to vectors (n, d + 1): an item's
    purchases, each halved for every half-life, and for every quarter of one. No two inputs need be of different items.
    """
    history = keras.Input((None,), dtype="int32", name="history")
    group = keras.Input((None,), dtype="int32", name="group")
    steady, recent = keras.Input((None,), name="steady"), keras.Input((None,), name="recent")
    of_index, of_field = towers.user.get_layer("products"), towers.user.get_layer("fields_of_products")
    own = ops.expand_dims(ops.cast(history > RARE, "float32"), -1)
    bought = of_index(history) * own + of_field(group)
    encoded = _means(bought, ops.expand_dims(steady, -1), ops.expand_dims(recent, -1))
    hidden, direction = towers.user.get_layer("user_hidden"), towers.user.get_layer("user_direction")
    vector = _user_vector(encoded, hidden, direction, steady)
    return keras.Model([history, group, steady, recent], vector, name="tower_of_sums")


def _user_vector(encoded: Any, hidden: Any, direction: Any, weight: Any) -> Any:
    """Of an encoded history, whose first numbers are a direction; with a 1 for the items' bias."""
    found = encoded[:, : direction.units] + direction(hidden(encoded))
    return ops.concatenate([_unit(found), ops.ones_like(ops.sum(weight, 1, keepdims=True))], 1)


def _pooled(bought: Any, weight: Any, width: int) -> Any:
    """Means of the purchases by recency, over a long and, by the weights' fourth power, a short time."""
    return _means(bought, weight, weight**4)


def _means(bought: Any, long: Any, short: Any) -> Any:
    """Means of what was bought, by both weights, and the logarithm of one plus the sum of the first."""
    means = [ops.sum(bought * weight, 1) / (ops.sum(weight, 1) + 1e-6) for weight in (long, short)]
    # No log1p: ONNX has none.
    return ops.concatenate([*means, ops.log(1 + ops.sum(long, 1))], 1)


def _gru(bought: Any, weight: Any, width: int) -> Any:
    """The state after the last purchase, of a gated recurrent unit that reads them in order (Cho et al., 2014)."""
    read = ops.concatenate([bought, weight], -1)
    return layers.GRU(width, use_cudnn=False, name="gru")(read)


def _cnn(bought: Any, weight: Any, width: int) -> Any:
    """Means by recency and the largest of two causal convolutions over purchases in order, the second dilated."""
    read = ops.concatenate([bought, weight], -1)
    x = layers.Conv1D(width, 5, padding="causal", activation="relu", name="convolution_1")(read)
    x = bought + layers.Conv1D(width, 5, padding="causal", dilation_rate=4, name="convolution_2")(x)
    known = ops.cast(weight > 0, "float32")
    mean = ops.sum(x * weight, 1) / (ops.sum(weight, 1) + 1e-6)
    return ops.concatenate([mean, ops.max(x * known, 1)], 1)


ENCODERS = {"pooled": _pooled, "gru": _gru, "cnn": _cnn}


def _unit(x: Any) -> Any:
    return x / ops.sqrt(ops.sum(x * x, 1, keepdims=True) + 1e-9)
