"""The core of batch scoring: users and items as arrays in, probabilities and rankings as arrays out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.transforms import I64
from server.catalogue import Listing
from server.columns import softmax_of
from server.features import OnlineFeatures
from server.items import Found, Items, Wanted
from server.models.model import F32, Model
from server.scoring import best
from server.towers import Asked
from server.users import StoredUser
from server.wire import OFFSET_BITS

ROWS_A_RUN = 2_048
"""Rows of one run of the model: what it reads and writes stays in the processor's caches."""
USERS_A_READ = 512


@dataclass(frozen=True, slots=True)
class Scored:
    """Probabilities and logits, float32 (n,), of n pairs; NaN where `known`, bool (n,), is False: no such item."""

    probabilities: F32
    logits: F32
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rankings:
    """The best items of some users, m in all, user by user and best first within each.

    users, items: int64 (m,), places in what was asked. ranks: int32 (m,), from 1. probabilities: the softmax over the
    user's known candidates; purchase, logits: what the model says; float32 (m,) each.
    """

    users: I64
    items: I64
    ranks: npt.NDArray[np.int32]
    probabilities: F32
    purchase: F32
    logits: F32


class Scorer:
    """Scores from one model and the online store, all at one time (seconds since 1970 UTC).

    Every method raises FeatureStoreError where the store does not answer.
    """

    def __init__(self, model: Model, features: OnlineFeatures, items: Items, listing: Listing, time: int) -> None:
        self._model = model
        self._features = features
        self._items = items
        self._listing = listing
        self._time = time

    def pairs(self, user_ids: Sequence[str], item_ids: pa.Array, users: I64, items: I64) -> Scored:
        """Scores of n pairs: `users` and `items`, int64 (n,), are places among the distinct ids, those of items an
        array of strings.

        A user's row is read once, however many pairs there are of it.
        """
        there, positions = self._positions(item_ids)
        places = positions[items]
        known = places >= 0
        rows = np.flatnonzero(known)
        rows = rows[np.argsort(users[rows], kind="stable")]
        probabilities, logits = (np.full(len(users), np.nan, np.float32) for _ in range(2))
        found = Found(there.shelf, places[rows], [])
        ends = np.searchsorted(users[rows], np.arange(len(user_ids) + 1))
        for begin, end, asked in self._blocks(user_ids, found, ends):
            probabilities[rows[begin:end]], logits[rows[begin:end]] = self._model.score_all(asked)
        return Scored(probabilities, logits, known)

    def rank(
        self, user_ids: Sequence[str], item_ids: pa.Array, ends: I64, items: I64, top_k: int, temperature: float
    ) -> Rankings:
        """The best `top_k` of each user's candidates: items[ends[u]:ends[u + 1]], places among the distinct ids."""
        users = np.repeat(np.arange(len(user_ids)), np.diff(ends))
        scored = self.pairs(user_ids, item_ids, users, items)
        made = []
        for user in range(len(user_ids)):
            mine = slice(int(ends[user]), int(ends[user + 1]))
            known = scored.known[mine]
            probabilities, logits = scored.probabilities[mine][known], scored.logits[mine][known]
            made.append(_best(user, items[mine][known], probabilities, logits, top_k, temperature))
        return _joined(made)

    def rank_catalogue(self, user_ids: Sequence[str], top_k: int, temperature: float) -> tuple[Rankings, list[str]]:
        """The best `top_k` of the whole catalogue for each user, and the ids that the places in `items` are of."""
        everything = self._listing.all(self._features.items_version())
        count = len(everything)
        places = np.arange(count)
        made = []
        for user, stored in enumerate(self._users(user_ids)):
            probabilities, logits = np.empty(count, np.float32), np.empty(count, np.float32)
            for at in range(0, count, ROWS_A_RUN):
                block = slice(at, at + ROWS_A_RUN)
                found = Found(everything.shelf, everything.positions[block], [])
                probabilities[block], logits[block] = self._model.score(Asked(stored.row, found, self._time))
            made.append(_best(user, places, probabilities, logits, top_k, temperature))
        return _joined(made), everything.ids

    def _positions(self, item_ids: pa.Array) -> tuple[Found, I64]:
        """The items that the store has, and the position on their shelf of each asked for; -1 where it has none."""
        found = self._items.find(wanted_of(item_ids), self._features.items_version())
        there = pc.invert(pc.is_in(item_ids, pa.array(found.unknown, pa.string()))).to_numpy(zero_copy_only=False)
        positions = np.full(len(item_ids), -1, np.int64)
        positions[there] = found.positions
        return found, positions

    def _users(self, user_ids: Sequence[str]) -> Iterator[StoredUser]:
        for at in range(0, len(user_ids), USERS_A_READ):
            yield from self._features.users(user_ids[at : at + USERS_A_READ])[0]

    def _blocks(self, user_ids: Sequence[str], found: Found, ends: I64) -> Iterator[tuple[int, int, list[Asked]]]:
        """Runs of the model: which of the rows, sorted by user, and whom to score with what."""
        block: list[Asked] = []
        begin = at = 0
        for user, stored in enumerate(self._users(user_ids)):
            end = int(ends[user + 1])
            while at < end:
                stop = min(end, begin + ROWS_A_RUN)
                block.append(Asked(stored.row, Found(found.shelf, found.positions[at:stop], []), self._time))
                at = stop
                if at == begin + ROWS_A_RUN:
                    yield begin, at, block
                    block, begin = [], at
        if block:
            yield begin, at, block


def wanted_of(item_ids: pa.Array) -> Wanted:
    """The items of these ids, an array of strings: its bytes are used as they lie in it."""
    _, ends, texts = item_ids.buffers()
    offsets = np.frombuffer(ends, np.int32)[item_ids.offset :][: len(item_ids) + 1].astype(np.int64)
    return Wanted(texts.to_pybytes() if texts else b"", offsets[:-1] << OFFSET_BITS | np.diff(offsets))


def _best(user: int, items: I64, purchase: F32, logits: F32, top_k: int, temperature: float) -> Rankings:
    """One user's best of its known candidates; empty where it has none."""
    count = min(top_k, len(items))
    chosen = best(logits, count) if count else np.zeros(0, np.intp)
    return Rankings(
        users=np.full(count, user, np.int64),
        items=items[chosen],
        ranks=np.arange(1, count + 1, dtype=np.int32),
        probabilities=softmax_of(logits, chosen, temperature),
        purchase=purchase[chosen],
        logits=logits[chosen],
    )


def _joined(made: Sequence[Rankings]) -> Rankings:
    return Rankings(
        users=np.concatenate([one.users for one in made]),
        items=np.concatenate([one.items for one in made]),
        ranks=np.concatenate([one.ranks for one in made]),
        probabilities=np.concatenate([one.probabilities for one in made]),
        purchase=np.concatenate([one.purchase for one in made]),
        logits=np.concatenate([one.logits for one in made]),
    )
