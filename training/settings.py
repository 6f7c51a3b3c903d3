"""How a network is trained, and who is told how far that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from training.model import Architecture


class Progress(Protocol):
    """Is told how far a stage of the work is; `done` and `total` count rows or steps of it."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    epochs: at most so many; training stops earlier once the validation log loss has not improved for
    `patience` epochs, and keeps the best weights. learning_rate: the peak of a cosine schedule with a short
    warm-up. average: span of the running mean of weights that is kept in their place, as a part of all steps (Polyak
    and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992); 0 for none. teacher: share of the
    answers of gradient-boosted trees in what is learned, beside the labels (see `training.teacher`); 0 for labels
    alone. class_weight: weight of a positive against a negative; the shift it causes is taken out of the score again.
    min_count: a category met less often counts as unseen. seed: of everything random.
    """

    architecture: Architecture = field(default_factory=Architecture)
    epochs: int = 5
    batch_size: int = 4096
    learning_rate: float = 4e-3
    average: float = 0.18
    patience: int = 2
    teacher: float = 0.5
    class_weight: float = 1.0
    min_count: int = 20
    seed: int = 0
