"""Lists a ranker learns from: for every user and week all purchases among the candidates, and some of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from training.ranking.past import Past, PastBlock
from training.ranking.rows import Rows
from training.retrieval.histories import together
from training.retrieval.log import F32, I32, I64
from training.shards import Block, Columns

AnyBlock = TypeVar("AnyBlock", bound=Block)
LEAST_WANTED = 3.0
"""Purchases of a list that no list's weight is above that of: one of a single purchase says little, loudly."""


@dataclass(frozen=True)
class Lists:
    """m lists of l rows: block of m·l rows, those of a list together.

    The block's offset is −log of the rate at which the list's negatives were kept, so that a model fitted with it
    added answers for all candidates (see `training.dataset.sampling`). wanted: int64 (m,), distinct items that the
    list's user bought.
    """

    block: PastBlock
    length: int
    wanted: I64

    def __len__(self) -> int:
        return len(self.block) // self.length

    def weighted(self, power: float) -> Lists:
        """The lists with rows that weigh by 1 / wanted to this power, 1 in the mean; see LEAST_WANTED.

        Recall@K is a mean over users, each of whose purchases counts for 1 / wanted: a purchase of few says more of it
        than one of many. By as much (power 1) a row's log-odds order a list by what it is expected to add to recall.
        """
        weight = np.maximum(self.wanted, LEAST_WANTED) ** -power
        rows = np.repeat(weight / weight.mean(), self.length).astype(np.float32)
        return replace(self, block=replace(self.block, weight=rows))


def draw_lists(weeks: Sequence[Rows], length: int, rng: np.random.Generator, past: Past) -> Lists:
    """`length` candidates of each user and week: the purchases and others at random, in random order.

    Every list is as long. Were the purchases first, a measure that breaks ties by place would be flattered.
    """
    blocks: list[tuple[F32, I64, F32, F32, I32]] = []
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
        blocks.append((rows.numeric[chosen], rows.categorical[chosen], label, offset, rows.items.ravel()[chosen]))
    numeric, categorical, label, offset, items = (np.concatenate(a) for a in zip(*blocks, strict=True))
    ones = np.ones(len(label), np.float32)
    wanted = np.concatenate([rows.wanted for rows in weeks])
    block = PastBlock(numeric, categorical, label, offset, ones, items, together([past.at(r) for r in weeks]), past)
    return Lists(block, min(length, weeks[0].shape[1]), wanted)


def whole(rows: Rows, past: Past) -> PastBlock:
    """Every row as a block, nothing sampled."""
    label = rows.label.ravel().astype(np.float32)
    nothing, ones = np.zeros_like(label), np.ones_like(label)
    return PastBlock(rows.numeric, rows.categorical, label, nothing, ones, rows.items.ravel(), past.at(rows), past)


def narrow(block: AnyBlock, columns: Columns) -> AnyBlock:
    """The block without columns beyond those of `columns`, which come first in it."""
    numeric = block.numeric[:, : len(columns.numeric)]
    return replace(block, numeric=numeric, categorical=block.categorical[:, : len(columns.categorical)])
