"""Attention over what a user bought: each candidate looks for its like in the history, by embeddings learned with the
ranker.

After Deep Interest Network (Zhou et al., 2018): the history's share in a candidate's score depends on the candidate.
Several heads compare by keys and queries (Vaswani et al., Attention Is All You Need, 2017), each with a liking for
ages of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from training.ranking.past import HALF_LIFE, Past
from training.retrieval.histories import NONE
from training.retrieval.products import RARE

AGES = (3.0, 7.0, 14.0, 28.0, 84.0)
"""Days over which what a head makes of a purchase's age decays, one curve each."""
NEVER = -1e9


@dataclass(frozen=True)
class Attention:
    """width: of an embedding. heads: it is split into. dropout: share of its values dropped in training."""

    width: int = 32
    heads: int = 2
    dropout: float = 0.1


class HistoryAttention(layers.Layer):  # type: ignore[misc]
    """Candidates (m, l) of m users with their histories (m, L) to what is read of them, (m·l, 3·width + heads).

    That is the candidate's embedding, what its heads found in the history, and the product of the two; and of each head
    the logarithm of how much it found.
    """

    def __init__(self, how: Attention, past: Past, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.how = how
        self.products = past.products
        self.width = 3 * how.width + how.heads

    def build(self, *shapes: Any) -> None:
        width, products = self.how.width, self.products
        self.of_index, self.of_field = (
            self.add_weight(
                shape=(size, width), initializer=keras.initializers.RandomNormal(stddev=width**-0.5), name=name
            )
            for size, name in ((products.index_size, "products"), (products.fields_size, "fields"))
        )
        self.query, self.key, self.value = (
            self.add_weight(shape=(width, width), initializer="glorot_uniform", name=name)
            for name in ("query", "key", "value")
        )
        self.ages = self.add_weight(shape=(len(AGES), self.how.heads), initializer="zeros", name="ages")

    def call(self, items: Any, history: Any, weights: Any, training: bool = False) -> Any:
        heads, width = self.how.heads, self.how.width
        candidate, bought = self._embedded(items), self._embedded(tf.maximum(history, 0))
        if training and self.how.dropout:
            candidate, bought = (tf.nn.dropout(x, self.how.dropout) for x in (candidate, bought))
        query, key = self._heads(candidate @ self.query), self._heads(bought @ self.key)
        logits = tf.matmul(query, key, transpose_b=True) * (width / heads) ** -0.5
        held = tf.cast(history != NONE, tf.float32)
        logits += tf.transpose(self._of_ages(weights), [0, 2, 1])[:, :, None]
        logits += (NEVER * (1 - held))[:, None, None]
        found = tf.matmul(tf.nn.softmax(logits), self._heads(bought @ self.value))
        found *= tf.reduce_max(held, axis=1)[:, None, None, None]
        found = tf.reshape(tf.transpose(found, [0, 2, 1, 3]), tf.shape(candidate))
        much = tf.maximum(tf.reduce_logsumexp(logits, axis=-1), 0.0)
        much = tf.transpose(much, [0, 2, 1])
        parts = [candidate, found, candidate * found, much]
        return tf.reshape(tf.concat(parts, axis=2), [-1, self.width])

    def _embedded(self, items: Any) -> Any:
        index = tf.gather(self.products.index, items)
        own = tf.cast(index > RARE, tf.float32)[..., None] * tf.gather(self.of_index, index)
        return own + tf.reduce_sum(tf.gather(self.of_field, tf.gather(self.products.fields, items)), axis=-2)

    def _heads(self, x: Any) -> Any:
        """(m, n, width) to (m, heads, n, width / heads)."""
        heads = self.how.heads
        shape = tf.shape(x)
        return tf.transpose(tf.reshape(x, [shape[0], shape[1], heads, self.how.width // heads]), [0, 2, 1, 3])

    def _of_ages(self, weights: Any) -> Any:
        """What heads make of each purchase's age, (m, L, heads)."""
        curves = tf.stack([tf.maximum(weights, 1e-6) ** np.float32(HALF_LIFE / days) for days in AGES], axis=-1)
        return curves @ self.ages
