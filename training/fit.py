"""Trains the model on a dataset of Parquet shards: encode, fit with early stopping, calibrate, evaluate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shoprank.errors import UserError
from training import metrics
from training.calibration import Calibration, fit_calibration
from training.encoding import MISSING, UNSEEN, Encoding, fit_encoding
from training.model import Architecture, averaging, build_scorer, build_trainer, loss_of, score_weights
from training.shards import Block, Columns, Split, rebatch
from training.teacher import Taught, grow_teacher

F32 = npt.NDArray[np.float32]
SPLITS = ("train", "validation", "test")
CATEGORY_DROPOUT = 0.02
PREDICT_ROWS = 16_384
WORTH_COMPILING = 100
"""Steps an epoch from which compiling by XLA pays; never with dropout, whose random numbers XLA makes slowly."""


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


class _Steps(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells `progress` of each training step."""

    def __init__(self, progress: Progress, steps: int, epochs: int) -> None:
        super().__init__()
        self.tell, self.steps, self.epochs, self.epoch = progress, steps, epochs, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.tell("train", self.epoch * self.steps + batch + 1, self.epochs * self.steps)
