"""Raw log-odds that a network gives to rows."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from training import metrics
from training.encoding import Encoding
from training.feeds import F32, model_inputs
from training.model import score_weights
from training.settings import Progress, silent
from training.shards import Block, Split


@dataclass(frozen=True, slots=True)
class Scored:
    """Raw log-odds of a split's rows with their labels, sampling offsets and weights, each float32 (n,)."""

    logit: F32
    label: F32
    offset: F32
    weight: F32

    @property
    def natural(self) -> npt.NDArray[np.float64]:
        """Weight of each row in the unsampled population, (n,)."""
        return metrics.natural_weight(self.label, self.offset, self.weight)


def raw_logits(scorer: keras.Model, encoding: Encoding, block: Block) -> F32:
    """Uncalibrated log-odds (n,) of a block's rows."""
    inputs = model_inputs(encoding, block.numeric, encoding.vocabulary.encode(block.categorical))
    _, embedding = scorer(list(inputs), training=False)
    kernel, bias = score_weights(scorer)
    logits: F32 = (embedding.numpy() @ kernel + np.float32(bias)).astype(np.float32)
    return logits


def score(
    scorer: keras.Model, encoding: Encoding, split: Split, progress: Progress = silent, stage: str = "score"
) -> Scored:
    """Raw log-odds of every row of a split, in the shards' order."""
    parts: list[tuple[F32, F32, F32, F32]] = []
    done = 0
    for block in split.blocks():
        parts.append((raw_logits(scorer, encoding, block), block.label, block.offset, block.weight))
        done += len(block)
        progress(stage, done, len(split))
    return Scored(*(np.concatenate(column) for column in zip(*parts, strict=True)))
