"""Answers score and rank queries: looks features up, runs the model, sorts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feature_repo.pairs import oldest
from server.call import Call
from server.catalogue import Listing
from server.features import OnlineFeatures
from server.items import Found, Items, Wanted
from server.models.model import F32, Model
from server.parse import RankQuery, ScoreQuery
from server.scoring import best
from server.slates.filters import Filter, Traits
from server.towers import Asked
from server.users import StoredUser
from shoprank.bundle import Manifest

ROWS_A_RUN = 8_192
NOTHING: F32 = np.zeros(0, np.float32)


class State(StrEnum):
    """Whether a user's features were there."""

    FOUND = "found"
    MISSING = "missing"
    STALE = "stale"


class Status(NamedTuple):
    """What features an answer rests on; ages in seconds at the time of the request."""

    user: State
    user_age: int | None
    items_found: int
    items_missing: int
    items_stale: int
    items_age: int | None


Answered = Callable[[str, Asked, F32, Model, Status], None]
"""Is told the user, the items, their log-odds, float32 (n,), the model that gave them, and what they rest on."""


@dataclass(slots=True)
class Scores:
    """Scores of n known items: probabilities and logits float32 (n,); `time` is the request's, `by` the model."""

    items: Found
    probabilities: F32
    logits: F32
    status: Status
    time: int
    by: Manifest


@dataclass(slots=True)
class Ranking:
    """The best k of n known candidates.

    items: the n. chosen: int64 (k,), which of them, best first. purchase_probabilities, logits: float32 (n,).
    """

    items: Found
    chosen: npt.NDArray[np.intp]
    purchase_probabilities: F32
    logits: F32
    temperature: float
    status: Status
    time: int
    by: Manifest
    filtered: int = 0
    """Known candidates that a filter left out."""


class Ranker:
    """Scores and ranks items for users.

    model_of: the model that answers a user's request. clock: the time of a request that names none, seconds since 1970
    UTC, given the version of the store's items. answered: told of what was scored, so that another model may score it.
    """

    def __init__(
        self,
        model_of: Callable[[str], Model],
        features: OnlineFeatures,
        items: Items,
        listing: Listing,
        clock: Callable[[int], int],
        answered: Answered = lambda *scored: None,
    ) -> None:
        self.model_of = model_of
        self._features = features
        self.items = items
        self.known = listing.catalogue.known
        self._listing = listing
        self._clock = clock
        self._answered = answered

    def score(self, query: ScoreQuery, call: Call) -> Scores:
        """Purchase probability of each known item, in the order given."""
        model = self.model_of(query.user_id)
        user, asked = self._look_up(query.user_id, query.items, query.time)
        call.mark("features")
        probabilities, logits = _score(model, asked)
        status = self._status(user, asked)
        self._answered(query.user_id, asked, logits, model, status)
        call.mark("inference")
        return Scores(asked.items, probabilities, logits, status, asked.time, model.manifest)

    def rank(self, query: RankQuery, call: Call) -> Ranking:
        """The best of the items given, or of the whole catalogue."""
        model = self.model_of(query.user_id)
        user, asked = self._look_up(query.user_id, query.items, query.time)
        found = len(asked.items)
        if query.filter is not None:
            asked = passing(query.filter, asked)
        call.mark("features")
        purchase, logits = _score(model, asked)
        status = self._status(user, asked)
        self._answered(query.user_id, asked, logits, model, status)
        ranking = ranked(query, asked, purchase, logits, status, model.manifest, found - len(asked.items))
        call.mark("inference")
        return ranking

    def rank_all(self, queries: Sequence[RankQuery], call: Call) -> list[Ranking]:
        """As `rank`, of several queries with items; what one model answers is one run of it."""
        models = [self.model_of(query.user_id) for query in queries]
        users, version = self._features.users([query.user_id for query in queries])
        found = [
            Asked(user.row, self._found(query.items, version), self._time(query.time, version))
            for user, query in zip(users, queries, strict=True)
        ]
        counts = [len(asked.items.positions) for asked in found]
        found = [
            asked if q.filter is None else passing(q.filter, asked) for q, asked in zip(queries, found, strict=True)
        ]
        call.mark("features")
        rankings: dict[int, Ranking] = {}
        for model in {id(model): model for model in models}.values():
            mine = [i for i, other in enumerate(models) if other is model]
            answers = _score_all(model, [found[i] for i in mine])
            for i, (purchase, logits) in zip(mine, answers, strict=True):
                query, asked = queries[i], found[i]
                status = self._status(users[i], asked)
                self._answered(query.user_id, asked, logits, model, status)
                left_out = counts[i] - len(asked.items.positions)
                rankings[i] = ranked(query, asked, purchase, logits, status, model.manifest, left_out)
        call.mark("inference")
        return [rankings[i] for i in range(len(queries))]

    def user(self, user_id: str, time: int | None) -> tuple[StoredUser, int, int]:
        """A user's row, the version of the store's items, and the time of a request that names this one or none."""
        (user,), version = self._features.users((user_id,))
        return user, version, self._time(time, version)

    def answer(self, model: Model, user_id: str, user: StoredUser, asked: Asked) -> tuple[F32, F32, Status]:
        """Purchase probabilities and logits, float32 (n,), of items looked up by the caller, and what they rest on."""
        purchase, logits = _score(model, asked)
        status = self._status(user, asked)
        self._answered(user_id, asked, logits, model, status)
        return purchase, logits, status

    def candidates(self, query: RankQuery) -> int:
        """Number of candidates of a query, those that the store does not know among them."""
        return len(query.items) or len(self._listing.all(self._features.items_version()))

    def _look_up(self, user_id: str, items: Wanted, time: int | None) -> tuple[StoredUser, Asked]:
        (user,), version = self._features.users((user_id,))
        return user, Asked(user.row, self._found(items, version), self._time(time, version))

    def _found(self, items: Wanted, version: int) -> Found:
        return self.items.find(items, version) if len(items) else self._listing.all(version)

    def _time(self, time: int | None, version: int) -> int:
        return self._clock(version) if time is None else time

    def _status(self, user: StoredUser, asked: Asked) -> Status:
        ttl, time, items = self._features.ttl, asked.time, asked.items
        count, age, stale = len(items.positions), None, 0
        if count:
            age = time - oldest(items.shelf.facts, items.positions)
            stale = int((time - items.at > ttl).sum()) if age > ttl else 0
            age = max(0, age)
        if user.at is None:
            return Status(State.MISSING, None, count - stale, len(items.unknown), stale, age)
        user_age = time - user.at
        state = State.STALE if user_age > ttl else State.FOUND
        return Status(state, max(0, user_age), count - stale, len(items.unknown), stale, age)


def passing(filter: Filter, asked: Asked) -> Asked:
    """What is asked for, without the items that do not pass."""
    items = asked.items
    kept = np.flatnonzero(filter.passing(Traits.of(items.shelf, items.positions), asked.user.history, asked.time))
    return Asked(asked.user, Found(items.shelf, items.positions.take(kept), items.unknown), asked.time)


def ranked(
    query: RankQuery, asked: Asked, purchase: F32, logits: F32, status: Status, by: Manifest, filtered: int = 0
) -> Ranking:
    """The ranking of scored items: purchase probabilities and logits float32 (n,), in the order of `asked.items`."""
    count = len(logits)
    chosen = best(logits, min(query.top_k or count, count)) if count else np.zeros(0, np.intp)
    return Ranking(asked.items, chosen, purchase, logits, query.temperature, status, asked.time, by, filtered)


def _score(model: Model, asked: Asked) -> tuple[F32, F32]:
    """Probabilities and logits, float32 (n,) each; the whole catalogue is scored a block of it at a time."""
    count = len(asked.items)
    if not count:
        return NOTHING, NOTHING
    if count <= ROWS_A_RUN:
        return model.score(asked)
    blocks = [asked.items.take(np.arange(at, min(at + ROWS_A_RUN, count))) for at in range(0, count, ROWS_A_RUN)]
    runs = [model.score(Asked(asked.user, block, asked.time)) for block in blocks]
    return np.concatenate([p for p, _ in runs]), np.concatenate([z for _, z in runs])


def _score_all(model: Model, asked: Sequence[Asked]) -> list[tuple[F32, F32]]:
    """As `_score` of each, in one run of the model for as many as fit into one."""
    answers: list[tuple[F32, F32]] = [(NOTHING, NOTHING)] * len(asked)
    batch: list[int] = []
    rows = 0
    for i, one in enumerate(asked):
        count = len(one.items.positions)
        if count > ROWS_A_RUN:
            answers[i] = _score(model, one)
        elif count:
            if rows + count > ROWS_A_RUN:
                _score_batch(model, asked, batch, answers)
                batch, rows = [], 0
            batch.append(i)
            rows += count
    if batch:
        _score_batch(model, asked, batch, answers)
    return answers


def _score_batch(model: Model, asked: Sequence[Asked], batch: list[int], answers: list[tuple[F32, F32]]) -> None:
    """Put the answers of those in the batch, of one run of the model, into their places."""
    probabilities, logits = model.score_all([asked[i] for i in batch])
    at = 0
    for i in batch:
        end = at + len(asked[i].items.positions)
        answers[i] = probabilities[at:end], logits[at:end]
        at = end
