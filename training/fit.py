"""Trains the model on a dataset of Parquet shards: encode, fit with early stopping, calibrate, evaluate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from shoprank.errors import UserError
from training import metrics
from training.calibration import Calibration, fit_calibration
from training.encoding import Encoding, fit_encoding
from training.feeds import Feeds
from training.model import averaging, build_scorer, build_trainer, loss_of
from training.scored import raw_logits, score
from training.settings import Progress, Settings, silent
from training.shards import Block, Columns, Split
from training.teacher import Taught, grow_teacher

SPLITS = ("train", "validation", "test")
WORTH_COMPILING = 100
"""Steps an epoch from which compiling by XLA pays; never with dropout, whose random numbers XLA makes slowly."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained, calibrated and evaluated model, ready for `training.export.export_bundle`.

    scorer: Keras model of raw logits and embedding. metrics: on the test split. thresholds: `default` (0.5)
    and `f1`, the best on validation. training: window, rows, seed and settings, for the manifest.
    """

    scorer: keras.Model
    encoding: Encoding
    calibration: Calibration
    settings: Settings
    metrics: dict[str, float]
    thresholds: dict[str, float]
    training: dict[str, Any]

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines on what did not go as the settings have it."""
        if self.settings.teacher and not self.training["taught"]:
            return ("trees find nothing to split these rows by, so the network learned from the labels alone",)
        return ()

    def logits(self, block: Block) -> npt.NDArray[np.float64]:
        """Calibrated log-odds (n,) as Keras computes them."""
        return self.calibration.apply(raw_logits(self.scorer, self.encoding, block))


def train(dataset: Path, columns: Columns, settings: Settings | None = None, progress: Progress = silent) -> Trained:
    """Train on `dataset/train`, stop and calibrate on `dataset/validation`, evaluate on `dataset/test`.

    The same seed gives the same metrics on one machine. Raises UserError where a split is missing, lacks a
    column or has rows of one class only.
    """
    settings = settings or Settings()
    splits = {name: Split(dataset / name, columns) for name in SPLITS}
    for split in splits.values():
        require_both_classes(split)
    rng = np.random.default_rng(settings.seed)
    done = 0

    def encoded(rows: int) -> None:
        nonlocal done
        done += rows
        progress("encode", done, len(splits["train"]))

    encoding = fit_encoding(splits["train"], rng, settings.min_count, seen=encoded)
    learned, trees = splits["train"], None
    if settings.teacher:
        trees = grow_teacher(splits["train"], splits["validation"], encoding, settings.seed, progress)
    if trees is not None:
        learned = Taught(splits["train"], trees, settings.teacher, progress)
    scorer = build_scorer(settings.architecture, encoding, settings.seed)
    epochs = fit(scorer, encoding, learned, splits["validation"], settings, progress)
    validation = score(scorer, encoding, splits["validation"], progress, "calibrate")
    calibration = fit_calibration(
        validation.logit,
        validation.label,
        validation.offset,
        validation.weight,
        np.random.default_rng(settings.seed),
    )
    test = score(scorer, encoding, splits["test"], progress, "evaluate")
    return Trained(
        scorer=scorer,
        encoding=encoding,
        calibration=calibration,
        settings=settings,
        metrics=metrics.evaluate(test.label, calibration.apply(test.logit), test.natural, settings.seed),
        thresholds={
            "default": 0.5,
            "f1": metrics.best_f1_threshold(validation.label, calibration.apply(validation.logit), validation.natural),
        },
        training={
            "window": {name: split.time_range() for name, split in splits.items()},
            "rows": {name: len(split) for name, split in splits.items()},
            "epochs": epochs,
            "taught": trees is not None,
            "settings": asdict(settings),
            "calibration": {
                "slope": calibration.slope,
                "intercept": calibration.intercept,
                "knots": calibration.knots.tolist(),
                "bends": calibration.bends.tolist(),
            },
        },
    )


def require_both_classes(split: Split) -> None:
    """Raise UserError unless the split holds rows of both classes."""
    found: set[float] = set()
    for label, _, _ in split.targets():
        found.update(np.unique(label).tolist())
        if len(found) == 2:
            return
    raise UserError(f"{split.folder}: every label is {int(found.pop())}; both 0 and 1 are needed")


def fit(
    scorer: keras.Model,
    encoding: Encoding,
    train_split: Split,
    validation: Split,
    settings: Settings,
    progress: Progress = silent,
) -> list[dict[str, float]]:
    """Fit the scorer's weights in place and return the losses of each epoch."""
    batch = min(settings.batch_size, max(32, len(train_split) // 50))
    steps = max(1, len(train_split) // batch)
    trainer = build_trainer(scorer, settings.architecture.head)
    start_at_base_rate(scorer, train_split, settings)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 10,
        decay_steps=max(1, steps * settings.epochs),
        alpha=0.1,
        warmup_target=settings.learning_rate,
        warmup_steps=max(1, steps // 4),
    )
    averaged = averaging(settings.average * steps * settings.epochs)
    trainer.compile(
        optimizer=keras.optimizers.Adam(schedule, **averaged),
        loss=loss_of(settings.architecture.head),
        jit_compile=steps >= WORTH_COMPILING and not settings.architecture.dropout,
    )
    trainer.optimizer.build(trainer.trainable_variables)  # or the first step makes its variables and is traced twice
    feeds = Feeds(encoding, settings)
    swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if averaged else []
    stop = keras.callbacks.EarlyStopping("val_loss", patience=settings.patience, restore_best_weights=True)
    history = trainer.fit(
        feeds.training(train_split, batch),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        validation_data=feeds.validation(validation),
        callbacks=[*swap, stop, _Steps(progress, steps, settings.epochs)],
        shuffle=False,
        verbose=0,
    ).history
    progress("train", steps * settings.epochs, steps * settings.epochs)
    return [
        {"loss": loss, "validation_loss": validation_loss}
        for loss, validation_loss in zip(history["loss"], history["val_loss"], strict=True)
    ]


def start_at_base_rate(scorer: keras.Model, split: Split, settings: Settings) -> None:
    """Set the last bias to the log-odds of the population, so that training need not find it first."""
    positives = negatives = 0.0
    for label, offset, weight in split.targets():
        natural = metrics.natural_weight(label, offset, weight)
        positives += float(natural @ label)
        negatives += float(natural @ (1 - label))
    kernel, bias = scorer.get_layer("logits").get_weights()
    bias[-1] = math.log(positives / negatives)
    scorer.get_layer("logits").set_weights([kernel, bias])


class _Steps(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells `progress` of each training step."""

    def __init__(self, progress: Progress, steps: int, epochs: int) -> None:
        super().__init__()
        self.tell, self.steps, self.epochs, self.epoch = progress, steps, epochs, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.tell("train", self.epoch * self.steps + batch + 1, self.epochs * self.steps)
