"""Lists a ranker learns from: for every user and week all purchases among the candidates, and some of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.ranking.rows import Rows
from training.retrieval.log import F32, I64
from training.shards import Block, Columns


@dataclass(frozen=True)
class Lists:
    """m lists of l rows: block of m·l rows, those of a list together.

    The block's offset is −log of the rate at which the list's negatives were kept, so that a model fitted with it
    added answers for all candidates (see `training.dataset.sampling`).
    """

    block: Block
    length: int

    def __len__(self) -> int:
        return len(self.block) // self.length


def draw_lists(weeks: Sequence[Rows], length: int, rng: np.random.Generator) -> Lists:
    """`length` candidates of each user and week: the purchases and others at random, in random order.

    Every list is as long. Were the purchases first, a measure that breaks ties by place would be flattered.
    """
    blocks: list[tuple[F32, I64, F32, F32]] = []
    for rows in weeks:
        n, k = rows.shape
        size = min(length, k)
        order = np.argsort(rng.random((n, k)) - 2 * rows.label, axis=1)[:, :size]
        order = rng.permuted(order, axis=1)
        chosen = (order + np.arange(n)[:, None] * k).ravel()
        positives = rows.label.sum(1)
        rate = np.maximum(size - positives, 1) / np.maximum(k - positives, 1)
        offset = np.repeat(-np.log(rate), size).astype(np.float32)
        label = rows.label.ravel()[chosen].astype(np.float32)
        blocks.append((rows.numeric[chosen], rows.categorical[chosen], label, offset))
    numeric, categorical, label, offset = (np.concatenate(a) for a in zip(*blocks, strict=True))
    ones = np.ones(len(label), np.float32)
    return Lists(Block(numeric, categorical, label, offset, ones), min(length, weeks[0].shape[1]))


def whole(rows: Rows) -> Block:
    """Every row as a block, nothing sampled."""
    label = rows.label.ravel().astype(np.float32)
    return Block(rows.numeric, rows.categorical, label, np.zeros_like(label), np.ones_like(label))


def narrow(block: Block, columns: Columns) -> Block:
    """The block without columns beyond those of `columns`, which come first in it."""
    numeric = block.numeric[:, : len(columns.numeric)]
    categorical = block.categorical[:, : len(columns.categorical)]
    return Block(numeric, categorical, block.label, block.offset, block.weight)
