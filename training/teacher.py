"""Gradient-boosted trees as a teacher: the network learns from their answers beside the labels.

Distillation (Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015). A label says bought or not;
the trees' answer says how likely that was, so that the same rows tell more. Only the network is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from training.encoding import Encoding
from training.shards import Block, Split, concatenate
from training.trees import Grown, Growth, width

F32 = npt.NDArray[np.float32]
ROWS = 1_500_000
"""Rows that trees learn from at most."""
HOW = Growth(step=3.0)


def grow_teacher(
    train: Split,
    validation: Split,
    encoding: Encoding,
    seed: int,
    tell: Callable[[str, int, int], None],
    rows: int = ROWS,
) -> Grown | None:
    """Grow trees on a random sample of about `rows` training rows at most, stopped by one of validation rows.

    None where they find nothing to tell rows apart by, so that they have nothing to teach.
    """
    rng = np.random.default_rng([seed, 2])
    some = [_sample(split, rows, rng) for split in (train, validation)]
    how = replace(HOW, least=min(HOW.least, max(1, len(some[0]) // 100)))
    grown = None
    if width(encoding):
        grown = how.grow(some[0], some[1], encoding, seed, grown=lambda trees: tell("grow trees", trees, how.rounds))
    tell("grow trees", how.rounds, how.rounds)
    return grown if grown is not None and grown.has_grown else None


def softened(label: F32, log_odds: npt.NDArray[np.floating], offset: F32, share: float) -> F32:
    """Labels (n,), each with a share of the teacher's probability in its place.

    log_odds: the teacher's, of the population. offset: of the sampling. share: 0 for the labels as they are, to 1.
    """
    probability = 1 / (1 + np.exp(-(np.asarray(log_odds, np.float64) + offset)))
    found: F32 = ((1 - share) * label + share * probability).astype(np.float32)
    return found


class Taught(Split):
    """A split whose rows come with softened labels. The teacher is asked once for each row; 4 bytes a row are kept."""

    def __init__(self, split: Split, teacher: Grown, share: float, tell: Callable[[str, int, int], None]) -> None:
        super().__init__(split.folder, split.columns)
        self._labels: list[list[F32]] = []
        done = 0
        for group in range(self.groups):
            labels = []
            for block in super().group(group):
                labels.append(softened(block.label, teacher.score(block), block.offset, share))
                done += len(block)
                tell("ask the trees", done, len(self))
            self._labels.append(labels)

    def group(self, number: int) -> Iterator[Block]:
        """As `Split.group`."""
        for block, label in zip(super().group(number), self._labels[number], strict=True):
            yield replace(block, label=label)


def _sample(split: Split, rows: int, rng: np.random.Generator) -> Block:
    """About so many rows of the split, at random; all where it has no more."""
    keep = min(1.0, rows / len(split))
    return concatenate([block.take(np.flatnonzero(rng.random(len(block)) < keep)) for block in split.blocks()])
