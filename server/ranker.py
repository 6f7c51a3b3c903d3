"""Answers score and rank queries: looks features up, runs the model, sorts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from feature_repo.transforms import ItemRows, UserRow, assemble
from server.features import OnlineFeatures, StoredItems, StoredUser
from server.items import Items
from server.model import F32, Model
from server.parse import RankQuery, ScoreQuery
from server.scoring import best, softmax

ROWS_A_RUN = 8_192


class State(Enum):
    """Whether a user's features were there."""

    FOUND = "found"
    MISSING = "missing"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Status:
    """What features an answer rests on; ages in seconds at the time of the request."""

    user: State
    user_age: int | None
    items_found: int
    items_missing: int
    items_stale: int
    items_age: int | None


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of n known items: ids (n,), probabilities and logits float32 (n,); `time` is the request's."""

    item_ids: npt.NDArray[np.object_]
    probabilities: F32
    logits: F32
    unknown: list[str]
    status: Status
    time: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best k of n known candidates, best first: ids, softmax and purchase probabilities, logits, (k,) each."""

    item_ids: npt.NDArray[np.object_]
    probabilities: F32
    purchase_probabilities: F32
    logits: F32
    unknown: list[str]
    candidates: int
    status: Status
    time: int


class Ranker:
    """Scores and ranks items for users.

    clock: the time of a request that names none, seconds since 1970 UTC.
    """

    def __init__(self, model: Model, features: OnlineFeatures, items: Items, clock: Callable[[], int]) -> None:
        self.model = model
        self._features = features
        self._items = items
        self._clock = clock

    def score(self, query: ScoreQuery) -> Scores:
        """Purchase probability of each known item, in the order given."""
        user, items = self._features.both(query.user_id, query.item_ids)
        time = self._clock() if query.time is None else query.time
        probabilities, logits = self._score(user.row, items.rows, time)
        status = self._status(user, items, time)
        return Scores(items.ids, probabilities, logits, items.unknown, status, time)

    def rank(self, query: RankQuery) -> Ranking:
        """The best of the items given, or of the whole catalogue."""
        if query.item_ids:
            user, items = self._features.both(query.user_id, query.item_ids)
        else:
            user, items = self._features.user(query.user_id), self._items.all()
        time = self._clock() if query.time is None else query.time
        purchase, logits = self._score(user.row, items.rows, time)
        count = len(items)
        chosen = best(logits, min(query.top_k or count, count)) if count else np.zeros(0, np.intp)
        softmaxed = softmax(logits, query.temperature) if count else logits
        return Ranking(
            item_ids=items.ids[chosen],
            probabilities=softmaxed[chosen],
            purchase_probabilities=purchase[chosen],
            logits=logits[chosen],
            unknown=items.unknown,
            candidates=count,
            status=self._status(user, items, time),
            time=time,
        )

    def _status(self, user: StoredUser, items: StoredItems, time: int) -> Status:
        ttl = self._features.ttl
        ages = time - items.at
        stale = int((ages > ttl).sum())
        return Status(
            user=State.MISSING if user.at is None else State.STALE if time - user.at > ttl else State.FOUND,
            user_age=None if user.at is None else max(0, time - user.at),
            items_found=len(items) - stale,
            items_missing=len(items.unknown),
            items_stale=stale,
            items_age=max(0, int(ages.max())) if len(items) else None,
        )

    def _score(self, user: UserRow, items: ItemRows, time: int) -> tuple[F32, F32]:
        if not len(items):
            nothing = np.zeros(0, np.float32)
            return nothing, nothing
        if len(items) <= ROWS_A_RUN:
            return self.model.score(assemble(user, items, time))
        runs = [
            self.model.score(assemble(user, items.take(np.arange(at, min(at + ROWS_A_RUN, len(items)))), time))
            for at in range(0, len(items), ROWS_A_RUN)
        ]
        return np.concatenate([p for p, _ in runs]), np.concatenate([z for _, z in runs])
