"""Rows on their way into a network: encoded, shuffled and in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from training.encoding import MISSING, UNSEEN, Encoding
from training.settings import Settings
from training.shards import Block, Split, rebatch

F32 = npt.NDArray[np.float32]
CATEGORY_DROPOUT = 0.02
PREDICT_ROWS = 16_384


class Feeds:
    """tf.data pipelines of ((inputs, offset), target, weight) batches, built from streamed blocks."""

    def __init__(self, encoding: Encoding, settings: Settings) -> None:
        self.encoding = encoding
        self.settings = settings
        self.softmax = settings.architecture.head == "softmax"

    def training(self, split: Split, batch: int) -> tf.data.Dataset:
        """Endless epochs of shuffled batches; masked categories train the embedding of "unseen"."""
        rng = np.random.default_rng([self.settings.seed, 1])

        def epochs() -> Iterator[Any]:
            for block in rebatch(self._masked(split, rng), batch):
                yield self._example(block)

        return self._dataset(epochs)

    def validation(self, split: Split) -> tf.data.Dataset:
        """One pass in order."""

        def once() -> Iterator[Any]:
            for block in rebatch(map(self._encoded, split.blocks()), PREDICT_ROWS):
                yield self._example(block)

        batches = math.ceil(len(split) / PREDICT_ROWS)
        return self._dataset(once).apply(tf.data.experimental.assert_cardinality(batches))

    def _encoded(self, block: Block) -> Block:
        """The block with indices in place of its categories."""
        return replace(block, categorical=self.encoding.vocabulary.encode(block.categorical))

    def _masked(self, split: Split, rng: np.random.Generator) -> Iterator[Block]:
        """Shuffled encoded rows, epoch after epoch."""
        while True:
            for block in map(self._encoded, split.shuffled(rng)):
                mask_categories(block.categorical, rng)
                yield block

    def _example(self, block: Block) -> Any:
        of_positive = np.float32(self.settings.class_weight)
        offset = block.offset + np.log(of_positive)
        positive = of_positive * block.label  # a label between 0 and 1 is that part of a positive
        weighed = positive + (1 - block.label)
        weight, label = block.weight * weighed, positive / weighed
        target = np.stack([1 - label, label], axis=1) if self.softmax else label[:, None]
        return (
            (*model_inputs(self.encoding, block.numeric, block.categorical), offset[:, None]),
            target,
            weight,
        )

    def _dataset(self, generator: Any) -> tf.data.Dataset:
        columns = self.encoding.columns
        inputs = []
        if columns.numeric:
            inputs.append(tf.TensorSpec((None, len(columns.numeric)), tf.float32))
        if columns.categorical:
            inputs.append(tf.TensorSpec((None, len(columns.categorical)), tf.int64))
        inputs.append(tf.TensorSpec((None, 1), tf.float32))
        signature = (
            tuple(inputs),
            tf.TensorSpec((None, 2 if self.softmax else 1), tf.float32),
            tf.TensorSpec((None,), tf.float32),
        )
        return tf.data.Dataset.from_generator(generator, output_signature=signature).prefetch(8)


def mask_categories(index: npt.NDArray[np.int64], rng: np.random.Generator) -> None:
    """Mask 2 in 100 categories of `index` (n, C) in place, three of four as "unseen", one as "missing"."""
    draw = rng.random(index.shape, np.float32)
    index[draw < CATEGORY_DROPOUT] = UNSEEN
    index[draw < CATEGORY_DROPOUT / 4] = MISSING


def model_inputs(encoding: Encoding, numeric: F32, index: npt.NDArray[np.int64]) -> tuple[Any, ...]:
    """The inputs the encoding has columns for, in the scorer's order."""
    both = ((encoding.columns.numeric, numeric), (encoding.columns.categorical, index))
    return tuple(array for names, array in both if names)
