"""The MLP as a ranker: cross-entropy of each row beside a listwise softmax over the candidates of a user.

The listwise term is ListNet's top-one cross-entropy (Cao et al., Learning to Rank: From Pairwise Approach to Listwise
Approach, 2007): the softmax of a list's scores against its purchases in equal shares. It moves the order; the
cross-entropy of rows, with the sampling offset added, keeps the scores log-odds. A network that is taught has softened
labels in both: what is likely counts as a part of a purchase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from training.calibration import Calibration, fit_calibration
from training.encoding import MISSING, UNSEEN, Encoding
from training.model import Architecture, Normalize, averaging, build_scorer
from training.ranking.attention import Attention, HistoryAttention
from training.ranking.cross import Cross
from training.ranking.lists import Lists
from training.ranking.past import PastBlock
from training.ranking.piecewise import Bins, Piecewise
from training.ranking.scorer import RowScorer, raw_scores
from training.retrieval.log import F32, F64, I64
from training.shards import Block
from training.teacher import softened
from training.trees import varying

BIN_ROWS = 100_000
"""Rows whose quantiles are the bins' edges, and as many purchases beside them: the best candidates are few."""


@dataclass(frozen=True)
class Network:
    """How to train. loss: of rows alone, each by its weight, or with a term over lists of weight `share`, to which
    every list counts alike.

    lists: lists a step. average: span of the running mean of weights that is kept in their place, as a part of all
    steps (see `training.settings`); 0 for none. dropout_categories: share of categories masked in training, so that
    unseen ones mean something. bins: of each number's piecewise-linear encoding beside its normalization; 0 for the
    normalization alone. teacher: share of a teacher's answers in what is learned, where one is given. cross: rank of
    the products of columns with each other; 0 for none. history: how what the user bought is read beside the columns.
    """

    architecture: Architecture = field(default_factory=Architecture)
    loss: Literal["rows", "listwise", "pairwise"] = "rows"
    share: float = 0.05
    epochs: int = 4
    lists: int = 32
    learning_rate: float = 2e-3
    average: float = 0.18
    dropout_categories: float = 0.05
    bins: int = 0
    teacher: float = 0.5
    cross: int = 0
    history: Attention | None = None

    def fit(
        self, train: Lists, validation: Lists, encoding: Encoding, seed: int, answers: F64 | None = None
    ) -> TrainedNetwork:
        """Train, keep the weights of the epoch with the best validation loss, and calibrate on validation.

        answers: a teacher's log-odds (n,) of the training rows. Raises FloatingPointError where training diverges.
        """
        scorer = self._scorer(train, encoding, seed)
        rng = np.random.default_rng(seed)
        steps = max(len(train) // self.lists, 1)
        schedule = keras.optimizers.schedules.CosineDecay(
            self.learning_rate / 10, steps * self.epochs, warmup_target=self.learning_rate, warmup_steps=steps // 4
        )
        averaged = averaging(self.average * steps * self.epochs)
        optimizer = keras.optimizers.Adam(schedule, **averaged)
        step = _step(scorer, optimizer, self, train.length)
        numeric, index = train.block.numeric, encoding.vocabulary.encode(train.block.categorical)
        label = train.block.label
        if answers is not None:
            label = softened(label, answers, train.block.offset, self.teacher)
        best, weights, scores = np.inf, scorer.get_weights(), np.empty(0, np.float32)
        for _ in range(self.epochs):
            order = rng.permutation(len(train))[: steps * self.lists].reshape(steps, -1)
            for lists in order:
                rows = (lists[:, None] * train.length + np.arange(train.length)).ravel()
                step(
                    tf.constant(numeric[rows]),
                    tf.constant(_masked(index[rows], self.dropout_categories, rng)),
                    [tf.constant(x) for x in train.block.of_lists(lists)] if self.history else [],
                    tf.constant(label[rows]),
                    tf.constant(train.block.offset[rows]),
                    tf.constant(train.block.weight[rows]),
                )
            latest = scorer.get_weights()
            if averaged:
                optimizer.finalize_variable_values(scorer.trainable_variables)
            z = raw_scores(scorer, encoding, validation.block)
            loss = _validation_loss(z, validation)
            if loss < best:
                best, weights, scores = loss, scorer.get_weights(), z
            scorer.set_weights(latest)
        if not np.isfinite(best):
            raise FloatingPointError("the validation loss is no number after any epoch")
        scorer.set_weights(weights)
        block = validation.block
        calibration = fit_calibration(scores, block.label, block.offset, block.weight, np.random.default_rng(seed))
        return TrainedNetwork(scorer, encoding, calibration)

    def restored(
        self, arrays: Mapping[str, npt.NDArray[Any]], train: Lists, encoding: Encoding, seed: int
    ) -> TrainedNetwork:
        """The network that was fitted on these lists and kept as `TrainedNetwork.arrays`."""
        scorer = self._scorer(train, encoding, seed)
        scorer.set_weights([arrays[f"weight_{n}"] for n in range(len(scorer.get_weights()))])
        line, knots, bends = (arrays[name] for name in ("calibration", "knots", "bends"))
        return TrainedNetwork(scorer, encoding, Calibration(float(line[0]), float(line[1]), knots, bends))

    def _scorer(self, train: Lists, encoding: Encoding, seed: int) -> RowScorer:
        reader = HistoryAttention(self.history, train.block.past) if self.history else None
        crossed = Cross(self.cross, name="cross") if self.cross else None
        beside = reader.width if reader else 0
        rows = build_scorer(self.architecture, encoding, seed, self._numbers(train, encoding), beside, crossed)
        if reader:
            reader(*train.block.of_lists(slice(1)))
        return RowScorer(rows, reader)

    def _numbers(self, train: Lists, encoding: Encoding) -> Piecewise | None:
        if not self.bins:
            return None
        rng = np.random.default_rng(0)
        anything, bought = np.arange(len(train.block)), np.flatnonzero(train.block.label)
        some = np.concatenate([rng.permutation(rows)[:BIN_ROWS] for rows in (anything, bought)])
        bins = Bins.of(train.block.numeric[some], self.bins, varying(encoding))
        return Piecewise(bins, Normalize(encoding.normalization, name="normalize"), name="piecewise")


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained scorer with its calibration."""

    scorer: RowScorer
    encoding: Encoding
    calibration: Calibration

    def score(self, block: PastBlock) -> F64:
        """Calibrated log-odds (n,) among all candidates."""
        return self.calibration.apply(raw_scores(self.scorer, self.encoding, block))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What `Network.restored` makes it of again."""
        found: dict[str, npt.NDArray[Any]] = {f"weight_{n}": w for n, w in enumerate(self.scorer.get_weights())}
        line = np.array([self.calibration.slope, self.calibration.intercept])
        return found | {"calibration": line, "knots": self.calibration.knots, "bends": self.calibration.bends}


@dataclass(frozen=True)
class Ensemble:
    """The mean of scorers' log-odds by their weights, calibrated again; of one alone its scores, calibrated."""

    members: tuple[Any, ...]
    weights: tuple[float, ...]
    calibration: Calibration

    @classmethod
    def of(cls, members: tuple[Any, ...], weights: tuple[float, ...], validation: Scores) -> Ensemble:
        """Calibrate the mean on validation."""
        block = validation.block
        z = np.average([validation.of(member)[0] for member in members], axis=0, weights=weights)
        calibration = fit_calibration(z, block.label, block.offset, block.weight, np.random.default_rng(0))
        return cls(members, weights, calibration)

    def score(self, block: Block) -> F64:
        """Calibrated log-odds (n,)."""
        return self.of_scores([member.score(block) for member in self.members])

    def of_scores(self, scores: Sequence[F64]) -> F64:
        """Calibrated log-odds (n,) from the members' own, (n,) each."""
        return self.calibration.apply(np.average(scores, axis=0, weights=self.weights))


@dataclass(frozen=True)
class Scores:
    """What models say of a block; a model that several ensembles have is asked once."""

    block: PastBlock
    known: list[tuple[Any, F64, float]] = field(default_factory=list)

    def of(self, model: Any) -> tuple[F64, float]:
        """Scores (n,) and the seconds they took, those of an ensemble's members together."""
        for asked, z, seconds in self.known:
            if asked is model:
                return z, seconds
        if isinstance(model, Ensemble):
            members = [self.of(member) for member in model.members]
            z, seconds = model.of_scores([z for z, _ in members]), sum(spent for _, spent in members)
        else:
            start = perf_counter()
            z = model.score(self.block)
            seconds = perf_counter() - start
        self.known.append((model, z, seconds))
        return z, seconds


def _validation_loss(z: F32, lists: Lists) -> float:
    logit = z.astype(np.float64) + lists.block.offset
    return float(np.average(np.logaddexp(0, logit) - lists.block.label * logit, weights=lists.block.weight))


def _masked(index: I64, share: float, rng: np.random.Generator) -> I64:
    if not share:
        return index
    what = np.where(rng.random(index.shape) < 0.5, UNSEEN, MISSING)
    return np.where(rng.random(index.shape) < share, what, index)


def _step(scorer: RowScorer, optimizer: Any, how: Network, length: int) -> Any:
    def step(numeric: Any, index: Any, past: Any, label: Any, offset: Any, weight: Any) -> Any:
        with tf.GradientTape() as tape:
            z = scorer.logits(numeric, index, past, training=True)
            of_rows = tf.nn.sigmoid_cross_entropy_with_logits(label, z + offset)
            loss = tf.reduce_mean(of_rows * weight) + tf.add_n(scorer.losses or [tf.constant(0.0)])
            if how.loss != "rows":
                lists, bought = tf.reshape(z, [-1, length]), tf.reshape(label, [-1, length])
                of_lists = _listwise(lists, bought) if how.loss == "listwise" else _pairwise(lists, bought)
                loss += how.share * of_lists
        variables = scorer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    optimizer.build(scorer.trainable_variables)
    # XLA would ignore the seeds of dropout.
    drops = how.architecture.dropout or (how.history and how.history.dropout)
    return tf.function(step, jit_compile=not drops, autograph=False)


def _listwise(z: Any, bought: Any) -> Any:
    """Mean over lists with a purchase of the cross-entropy between purchases in equal shares and softmax(z).

    Where labels are softened, shares are in proportion to them, and a list of less than one purchase weighs less.
    """
    count = tf.reduce_sum(bought, axis=1)
    share = bought / tf.maximum(count, 1.0)[:, None]
    loss = -tf.reduce_sum(share * tf.nn.log_softmax(z, axis=1), axis=1)
    some = tf.cast(count > 0, tf.float32)
    return tf.reduce_sum(loss * some) / tf.maximum(tf.reduce_sum(some), 1.0)


def _pairwise(z: Any, bought: Any) -> Any:
    """Mean over pairs of a purchase and another candidate of log(1 + exp(z other − z purchase)) (RankNet)."""
    gap = z[:, None, :] - z[:, :, None]
    pair = bought[:, :, None] * (1 - bought[:, None, :])
    return tf.reduce_sum(tf.math.softplus(gap) * pair) / tf.maximum(tf.reduce_sum(pair), 1.0)
