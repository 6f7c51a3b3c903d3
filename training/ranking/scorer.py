"""A network's scores of rows: by their columns, and by what it reads of the users' histories where it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.encoding import Encoding
from training.ranking.attention import HistoryAttention
from training.ranking.past import PastBlock
from training.retrieval.generator import pieces
from training.retrieval.log import F32

PREDICT_ROWS = 16_384


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


def raw_scores(scorer: RowScorer, encoding: Encoding, block: PastBlock) -> F32:
    """The scorer's logits (n,), some lists at a time."""
    parts = []
    count = len(block.history)
    length = len(block) // count
    for lists in pieces(block.history.items, max(PREDICT_ROWS // length, 1)):
        rows = slice(lists.start * length, lists.stop * length)
        index = encoding.vocabulary.encode(block.categorical[rows])
        past = block.of_lists(lists) if scorer.reader else ()
        parts.append(scorer.logits(block.numeric[rows], index, past, training=False).numpy())
    return np.concatenate(parts)
