"""Fits two towers: a softmax over sampled items, corrected for how often each is drawn.

Rows are a user in a week before the cutoff: the history ends where the week begins, targets are drawn from what the
user bought in it. The negatives of a row are the targets of the batch's other rows, products drawn evenly (Yang et al.,
Mixed Negative Sampling, 2020), and, if wanted, what another generator lists. All come of one mixture, whose logarithm
is taken off each logit (log-Q correction, Yi et al., 2019): the rarely drawn count for more, so that the product of two
vectors tends to the logarithm of the chance of a purchase. What a row's user bought in the week is no negative of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from shoprank.errors import UserError
from training.retrieval.generator import pieces, top
from training.retrieval.histories import Histories, History, empty
from training.retrieval.log import F32, F64, I32, I64, PurchaseLog, Sparse, unseen
from training.retrieval.products import sales
from training.retrieval.towers import Towers

Aim = Literal["all", "new"]
DAYS = 7
JUDGED_USERS = 300
JUDGED_AT = 500
"""Length of the lists whose recall stops training; a twentieth of the catalogue where that is less."""


@dataclass(frozen=True)
class Fit:
    """How to train.

    aim: at all purchases, or at those of products that are new to the user. weeks: learned from; one more, the last,
    stops training after `patience` epochs without a better recall. batch: rows. targets: drawn of a row. even: products
    drawn evenly, a batch. hard: products drawn of each row's list, if there are lists. forgotten: share of rows that
    train without a history, so that a user nobody knows has a vector too.
    """

    aim: Aim = "all"
    weeks: int = 20
    epochs: int = 5
    batch: int = 256
    targets: int = 4
    even: int = 1_024
    hard: int = 2
    forgotten: float = 0.02
    learning_rate: float = 2e-3
    patience: int = 2


@dataclass(frozen=True)
class TargetWeek:
    """A week that is learned from. start: days. users: those with targets in it. wanted: the targets, users × items, 0
    or 1. off: what is no negative of a user, users × items. sold: float32 (N, 2), sales before it. drawn: float64 (N,),
    the chance of each item to be drawn as a target."""

    start: float
    users: I64
    wanted: Sparse
    off: Sparse
    sold: F32
    drawn: F64

    @classmethod
    def of(cls, log: PurchaseLog, start: float, aim: Aim) -> TargetWeek:
        """The seven days from `start`."""
        off = wanted = log.take((log.at >= start) & (log.at < start + DAYS)).owned()
        if aim == "new":
            owned = log.take(log.at < start).owned()
            wanted, off = unseen(wanted, owned), (wanted + owned).tocsr()
            off.data[:] = 1
        count = np.diff(wanted.indptr)
        users = np.flatnonzero(count)
        share = np.repeat(1 / np.maximum(count, 1), count) / max(len(users), 1)
        drawn = np.bincount(wanted.indices, share, wanted.shape[1]).astype(np.float64)
        return cls(start, users, wanted, off, sales(log, start), drawn)


@dataclass(frozen=True)
class Batch:
    """b rows of one week. targets: int32 (b, t). columns: int32 (c,), items whose logits are compared; the first b·t
    are the targets. off: float32 (b, c), 1 where the column's item is no negative of the row. log_q: float32
    (c,), logarithm of how often the column's item is expected in a batch."""

    week: TargetWeek
    history: History
    targets: I32
    columns: I32
    off: F32
    log_q: F32


@dataclass(frozen=True)
class Sampler:
    """Draws batches.

    length, half_life: of histories. lists: int32 (U, k) of another generator, or none; listed: float64 (N,), each
    item's share of them.
    """

    histories: Histories
    length: int
    half_life: float
    settings: Fit
    lists: I32 | None = None
    listed: F64 | None = None

    def epoch(self, weeks: list[TargetWeek], rng: np.random.Generator) -> Iterator[Batch]:
        """Every user of every week once, batches in any order."""
        rows = [
            (week, part)
            for week in weeks
            for order in [rng.permutation(week.users)]
            for part in np.array_split(order, max(round(len(order) / self.settings.batch), 1))
            if len(part)
        ]
        for n in rng.permutation(len(rows)):
            week, part = rows[n]
            yield self._batch(week, part, rng)

    def _batch(self, week: TargetWeek, users: I64, rng: np.random.Generator) -> Batch:
        s, items = self.settings, week.wanted.shape[1]
        first, count = week.wanted.indptr[users], np.diff(week.wanted.indptr)[users]
        chosen = (rng.random((len(users), s.targets)) * count[:, None]).astype(np.int64)
        targets = week.wanted.indices[first[:, None] + chosen].astype(np.int32)
        drawn = [targets.ravel(), rng.integers(0, items, s.even).astype(np.int32)]
        expected = targets.size * week.drawn + s.even / items
        if self.lists is not None and self.listed is not None:
            place = rng.integers(0, self.lists.shape[1], (len(users), s.hard))
            drawn.append(np.take_along_axis(self.lists[users], place, 1).ravel())
            expected = expected + len(users) * s.hard * self.listed
        columns = np.concatenate(drawn)
        history = self.histories.before(week.start, users, self.length, self.half_life)
        forgotten = rng.random(len(users)) < s.forgotten
        blank = empty(int(forgotten.sum()), self.length)
        history.items[forgotten], history.weights[forgotten] = blank.items, blank.weights
        off = week.off[users][:, columns].toarray().astype(np.float32)
        return Batch(week, history, targets, columns, off, np.log(expected[columns]).astype(np.float32))


def train(
    towers: Towers,
    log: PurchaseLog,
    sampler: Sampler,
    seed: int,
    progress: Callable[[str, int, int], None] = lambda *step: None,
) -> list[dict[str, float]]:
    """Fit the towers in place on the weeks before the log's cutoff; loss and recall of the last week by epoch.

    Keeps the weights of the best epoch. Weeks without purchases are left out. Raises UserError where none is left.
    """
    s = sampler.settings
    starts = [log.now - DAYS * n for n in range(s.weeks + 1, 0, -1)]
    *weeks, last = [TargetWeek.of(log, start, s.aim) for start in starts]
    weeks = [week for week in weeks if len(week.users)]
    if not weeks:
        raise _nothing(s)
    rng = np.random.default_rng(seed)
    steps = sum(max(round(len(week.users) / s.batch), 1) for week in weeks)
    schedule = keras.optimizers.schedules.CosineDecay(s.learning_rate, max(steps * s.epochs, 1), alpha=0.05)
    step = _step(towers, keras.optimizers.Adam(schedule), s.targets)
    best, kept, found, since = -1.0, _weights(towers), [], 0
    for epoch in range(s.epochs):
        losses = []
        for n, batch in enumerate(sampler.epoch(weeks, rng)):
            losses.append(float(step(*_tensors(towers, batch))))
            progress("towers", epoch * steps + n + 1, s.epochs * steps)
        recall = recall_of(towers, sampler, last)
        found.append({"loss": float(np.mean(losses)), "recall": recall})
        if recall > best:
            best, kept, since = recall, _weights(towers), 0
        else:
            since += 1
            if since >= s.patience:
                break
    for model, weights in zip((towers.item, towers.user), kept, strict=True):
        model.set_weights(weights)
    return found


def require_weeks(log: PurchaseLog, settings: Fit) -> None:
    """Raise UserError where no purchase is in the weeks that towers would learn from."""
    last = log.now - DAYS
    if not ((log.at >= last - DAYS * settings.weeks) & (log.at < last)).any():
        raise _nothing(settings)


def _nothing(settings: Fit) -> UserError:
    return UserError(
        f"no purchases in the {settings.weeks} weeks before the last: the towers have nothing to learn from"
    )


def recall_of(towers: Towers, sampler: Sampler, week: TargetWeek) -> float:
    """Mean share of what was bought in the week among the best 500, over some 300 of its users; 0 without any."""
    at = min(JUDGED_AT, max(week.wanted.shape[1] // 20, 1))
    users = week.users[:: max(len(week.users) // JUDGED_USERS, 1)]
    vectors = towers.item_vectors(week.sold)
    shares = []
    for rows in pieces(users):
        history = sampler.histories.before(week.start, users[rows], sampler.length, sampler.half_life)
        logits = towers.user_vectors(history) @ vectors.T
        wanted, off = week.wanted[users[rows]], week.off[users[rows]]
        logits[(off - wanted).nonzero()] = -np.inf  # what the user has, where only new products are wanted
        best = top(logits, at)
        hits = np.asarray(wanted[np.arange(len(best))[:, None], best].sum(axis=1)).ravel()
        shares.append(hits / np.diff(wanted.indptr))
    return float(np.concatenate(shares).mean()) if shares else 0.0


def _weights(towers: Towers) -> tuple[list[Any], list[Any]]:
    return towers.item.get_weights(), towers.user.get_weights()


def _tensors(towers: Towers, batch: Batch) -> tuple[Any, ...]:
    """What a step takes, in its order."""
    item = towers.item_inputs(batch.columns, batch.week.sold)
    user = towers.user_inputs(batch.history)
    feeds = ({k: tf.constant(v) for k, v in item.items()}, {k: tf.constant(v) for k, v in user.items()})
    return (*feeds, tf.constant(batch.off), tf.constant(batch.log_q))


def _step(towers: Towers, optimizer: Any, targets: int) -> Any:
    """One step of the optimizer as a compiled function; gives the batch's mean loss."""
    seen: dict[int, Any] = {}
    for variable in (*towers.item.trainable_variables, *towers.user.trainable_variables):
        seen[id(variable)] = variable
    variables = list(seen.values())
    optimizer.build(variables)

    inputs = [{i.name: tf.TensorSpec(i.shape, i.dtype) for i in model.inputs} for model in (towers.item, towers.user)]

    # Batches differ in size.
    @tf.function(input_signature=[*inputs, tf.TensorSpec((None, None)), tf.TensorSpec((None,))], autograph=False)  # type: ignore[untyped-decorator]
    def step(item: Any, user: Any, off: Any, log_q: Any) -> Any:
        with tf.GradientTape() as tape:
            of_items, of_users = towers.item(item, training=True), towers.user(user, training=True)
            logits = tf.matmul(of_users, of_items, transpose_b=True) - log_q
            others = tf.reduce_logsumexp(logits - 1e9 * off, axis=1, keepdims=True)
            rows = tf.shape(off)[0]
            own = tf.reshape(tf.range(rows * targets), [rows, targets])
            wanted = tf.gather(logits, own, batch_dims=1)
            loss = tf.reduce_mean(tf.nn.softplus(others - wanted))
        gradients = tape.gradient(loss, variables)
        optimizer.apply(gradients, variables)
        return loss

    return step
