"""A network's scores of rows: by their columns, and by what it reads of the users' histories where it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.encoding import Encoding
from training.ranking.attention import HistoryAttention
from training.ranking.past import PastBlock
from training.retrieval.log import F32

PREDICT_ROWS = 4096
"""Few enough that what they are encoded to stays in a processor's caches."""


@dataclass(frozen=True)
class RowScorer:
    """rows: the scorer of columns. reader: what it is shown of the user's history beside them, if anything."""

    rows: keras.Model
    reader: HistoryAttention | None = None

    @property
    def trainable_variables(self) -> list[Any]:
        """Of both."""
        return [*self.rows.trainable_variables, *(self.reader.trainable_variables if self.reader else ())]

    @property
    def losses(self) -> list[Any]:
        """Penalties on weights."""
        return list(self.rows.losses)

    @property
    def _variables(self) -> list[Any]:
        """All that is learned or, by normalization of batches, counted."""
        return [*self.rows.weights, *(self.reader.weights if self.reader else ())]

    def get_weights(self) -> list[F32]:
        """Copies of all weights."""
        return [variable.numpy() for variable in self._variables]

    def set_weights(self, weights: list[F32]) -> None:
        """Set them."""
        for variable, value in zip(self._variables, weights, strict=True):
            variable.assign(value)

    def logits(self, numeric: Any, index: Any, past: Sequence[Any], training: bool) -> Any:
        """Logits (n,) of rows. past: items (m, l), history and its weights (m, L) of the rows' m lists."""
        columns = [tf.convert_to_tensor(numeric), tf.convert_to_tensor(index)]
        if self.reader:
            columns.append(self.reader(*past, training=training))
        return self.rows(columns, training=training)[0][:, 0]

    @cached_property
    def compiled(self) -> Any:
        """`logits` of a trained scorer, numeric, index and past to (n,), compiled for each shape it is given."""

        def logits(numeric: Any, index: Any, past: Sequence[Any]) -> Any:
            return self.logits(numeric, index, past, training=False)

        return tf.function(logits, jit_compile=True, autograph=False)


def raw_scores(scorer: RowScorer, encoding: Encoding, block: PastBlock) -> F32:
    """The scorer's logits (n,), as many lists at a time: the last time some again, so that the shape stays."""
    count = len(block.history)
    length = len(block) // count
    step = min(max(PREDICT_ROWS // length, 1), count)
    found = np.empty((count, length), np.float32)
    for start in range(0, count, step):
        lists = np.arange(start, start + step).clip(max=count - 1)
        rows = (lists[:, None] * length + np.arange(length)).ravel()
        index = encoding.vocabulary.encode(block.categorical[rows])
        past = [tf.constant(x) for x in block.of_lists(lists)] if scorer.reader else []
        z = scorer.compiled(tf.constant(block.numeric[rows]), tf.constant(index), past).numpy()
        found[start : start + step] = z.reshape(step, length)[: count - start]
    return found.ravel()
