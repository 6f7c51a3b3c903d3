"""User × item features: one pure function of (user row, item rows, time), for training and serving alike.

The arithmetic of pairs is in `pairs`; each transcendental is taken once, as a scalar, so a pair's features are the
same bits whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from feature_repo import pairs, schema

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


@dataclass(slots=True)
class History:
    """What a user bought and looked at, by item, category and subcategory: an entry each, keys ascending in a level.

    ends: int64 (levels + 1,): entries of level j are those from ends[j] to ends[j + 1]. words: uint32 (m · WORDS,), the
    arrays one behind the other: keys, first_at and last_at, int64 (m,), then purchases, recent, steady and interest,
    float32 (m,). In one array they go into compiled code at the price of one.
    """

    ends: I64
    words: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, levels: Sequence[Mapping[str, npt.NDArray[Any]]]) -> History:
        """The history of arrays by name, a mapping a level. Raises ValueError where a level's differ in length."""
        for level, arrays in zip(schema.LEVELS, levels, strict=True):
            if len({len(a) for a in arrays.values()}) != 1:
                raise ValueError(
                    f"{level} history: arrays differ in length: { {k: len(a) for k, a in arrays.items()} }"
                )
        ends = np.cumsum([0, *(len(arrays["keys"]) for arrays in levels)], dtype=np.int64)
        return cls._packed(ends, (np.concatenate([arrays[f.name] for arrays in levels]) for f in schema.AFFINITY))

    @classmethod
    def _packed(cls, ends: I64, arrays: Iterable[npt.NDArray[Any]]) -> History:
        return cls(ends, np.concatenate([np.ascontiguousarray(array).view(np.uint32) for array in arrays]))

    def __getitem__(self, level: int) -> History:
        """One level alone, as a history of one level."""
        start, end = self.ends[level : level + 2].tolist()
        arrays = (getattr(self, f.name)[start:end] for f in schema.AFFINITY)
        return self._packed(np.array([0, end - start], np.int64), arrays)

    def __len__(self) -> int:
        return len(self.words) // pairs.WORDS

    def _longs(self, which: int) -> I64:
        m = len(self)
        return self.words[2 * m * which : 2 * m * (which + 1)].view(np.int64)

    def _floats(self, which: int) -> F32:
        m = len(self)
        return self.words[m * (which + 6) : m * (which + 7)].view(np.float32)

    @property
    def keys(self) -> I64:
        """Key of each thing."""
        return self._longs(0)

    @property
    def first_at(self) -> I64:
        """Its first purchase, seconds since 1970 UTC."""
        return self._longs(1)

    @property
    def last_at(self) -> I64:
        """Its last purchase."""
        return self._longs(2)

    @property
    def purchases(self) -> F32:
        """Its order lines so far."""
        return self._floats(0)

    @property
    def recent(self) -> F32:
        """Its order lines, each halved every 14 days."""
        return self._floats(1)

    @property
    def steady(self) -> F32:
        """Its order lines, each halved every 56 days."""
        return self._floats(2)

    @property
    def interest(self) -> F32:
        """Its views, clicks and carts, each halved every 14 days."""
        return self._floats(3)


@dataclass(slots=True)
class UserRow:
    """One user's features: numbers float32 (18,), times int64 (3,), keys int64 (7,), and the history."""

    numbers: F32
    times: I64
    keys: I64
    history: History

    @property
    def as_of(self) -> int:
        """Cutoff of the snapshot this row comes from, seconds since 1970 UTC; 0 for an unknown user."""
        return int(self.times[0])

    @classmethod
    def unknown(cls) -> UserRow:
        """The row of a user nothing is known about: every feature missing, every history empty."""
        return user_row({})


@dataclass(frozen=True, slots=True)
class ItemRows:
    """Features of n items: numbers float32 (n, 22), times int64 (n, 3), keys int64 (n, 6)."""

    numbers: F32
    times: I64
    keys: I64

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, index: npt.NDArray[np.intp]) -> ItemRows:
        """The rows at `index`, in that order."""
        return ItemRows(self.numbers[index], self.times[index], self.keys[index])


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The model's input: numeric float32 (n, len(NUMERIC)), NaN if missing; categorical int64 (n, len(CATEGORICAL))."""

    numeric: F32
    categorical: I64


def _number(value: Any) -> float:
    return math.nan if value is None else value


def user_row(values: Mapping[str, Any]) -> UserRow:
    """Parse one user's feature values by name (absent or None is missing) into arrays.

    Raises ValueError where the arrays of one level of the history differ in length.
    """
    return UserRow(
        numbers=np.array([_number(values.get(f.name)) for f in schema.USER_NUMBERS], np.float32),
        times=np.array([values.get(f.name) or 0 for f in schema.USER_TIMES], np.int64),
        keys=np.array([values.get(f.name) or 0 for f in schema.USER_KEYS], np.int64),
        history=History.of([_level(values, level) for level in schema.LEVELS]),
    )


def _level(values: Mapping[str, Any], level: str) -> dict[str, npt.NDArray[Any]]:
    arrays = {}
    for feature in schema.AFFINITY:
        value, dtype = values.get(schema.affinity_column(level, feature)), schema.affinity_type(feature)
        arrays[feature.name] = np.zeros(0, dtype) if value is None else np.asarray(value, dtype)
    return arrays


def item_rows(columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]], count: int) -> ItemRows:
    """Parse feature columns of `count` items (an absent column is missing throughout) into arrays."""

    def block(features: tuple[schema.Feature, ...], dtype: type, missing: float) -> npt.NDArray[Any]:
        out: npt.NDArray[Any] = np.full((count, len(features)), missing, dtype)
        for j, feature in enumerate(features):
            values = columns.get(feature.name)
            if values is None:
                continue
            if isinstance(values, np.ndarray):
                out[:, j] = values
            else:
                out[:, j] = [missing if v is None else v for v in values]
        return out

    return ItemRows(
        numbers=block(schema.ITEM_NUMBERS, np.float32, math.nan),
        times=block(schema.ITEM_TIMES, np.int64, 0),
        keys=block(schema.ITEM_KEYS, np.int64, 0),
    )


def assemble(user: UserRow, items: ItemRows, time: int, pair: F32 | None = None) -> ModelInput:
    """The model's input for one user against n items at `time` (seconds since 1970 UTC).

    pair: their `pair_features`, where they are there already. Returns numeric (n, len(NUMERIC)) and categorical (n,
    len(CATEGORICAL)).
    """
    if pair is None:
        pair = pair_features(user, items, time)
    n = len(items)
    numeric: F32 = np.empty((n, len(schema.NUMERIC)), np.float32)
    at = 0
    for block in (user.numbers, items.numbers, pair, context_features(time)):
        width = block.shape[-1]
        numeric[:, at : at + width] = block
        at += width
    categorical = np.empty((n, len(schema.CATEGORICAL)), np.int64)
    item_keys = items.keys.shape[1] - 1
    categorical[:, :item_keys] = items.keys[:, 1:]
    categorical[:, item_keys:] = user.keys
    return ModelInput(numeric, categorical)


def pair_features(user: UserRow, items: ItemRows, time: int) -> F32:
    """User × item features at `time`, float32 (n, 38): the PAIR_NUMBERS of each level, then the CROSS_NUMBERS."""
    facts = pairs.facts_of(items.numbers, items.times, items.keys)
    return pair_features_of(user, facts, np.arange(len(items)), time)


def pair_features_of(user: UserRow, facts: I64, positions: I64, time: int) -> F32:
    """As `pair_features`, of the items at `positions` (n,) of a table of facts (see `pairs`)."""
    out = np.empty((len(positions), pairs.WIDTH), np.float32)
    pairs.spread(out, *affinities_of((user,), user.numbers[None], facts, positions, (len(positions),), (time,)))
    return out


class Affinities(NamedTuple):
    """Pair and cross features of users and n items, what items share held once.

    Most numbers of a pair are those of an entry of the user's history, or of none: a category's are the same for all
    its items, and few items of a request were ever bought by the user. Such numbers stand in a row of a table, once;
    tables lie with a row's numbers one above the other.

    of_items: float32 (1, 13, rows), the PAIR_NUMBERS of an item and the CROSS_NUMBERS of the user and it.
    of_categories: float32 (2, 10, rows), the PAIR_NUMBERS of categories, and of subcategories. rows: int32 (n, 3),
    which rows are each item's. of_users: float32 (users, 3), the CROSS_NUMBERS of the user and the time alone. ages:
    float32 (2, n), those of the item and the time alone.
    """

    of_items: F32
    of_categories: F32
    rows: npt.NDArray[np.int32]
    of_users: F32
    ages: F32


def affinities_of(
    users: Sequence[UserRow], numbers: F32, facts: I64, positions: I64, ends: Sequence[int], times: Sequence[int]
) -> Affinities:
    """What `pair_features_of` spreads out, of several users' items one behind the other.

    numbers: float32 (users, 18), those of the users. ends: where each user's items end among the `positions` (n,).
    times: of each user's request.
    """
    count = len(users)
    made = pairs.affinities(
        np.array(times, np.int64),
        numbers,
        np.concatenate([user.times for user in users]).reshape(count, -1),
        np.concatenate([decays(time, user.as_of) for user, time in zip(users, times, strict=True)]).reshape(count, -1),
        np.concatenate([user.history.ends for user in users]).reshape(count, -1),
        np.concatenate([user.history.words for user in users]),
        facts,
        facts.view(np.float32),
        positions,
        np.array(ends, np.int64),
    )
    return Affinities(*made)


@lru_cache(maxsize=4_096)
def decays(time: int, as_of: int) -> F32:
    """What recent, steady and interest of a snapshot's history are multiplied by at `time`, (3,): they decay on."""
    elapsed = max(0.0, (time - as_of) / pairs.DAY) if as_of else 0.0
    factors = (0.5 ** (elapsed / schema.HALF_LIFE_DAYS[name]) for name in ("recent", "steady", "interest"))
    return _constant(np.array(list(factors), np.float32))


@lru_cache(maxsize=4_096)
def context_features(time: int) -> F32:
    """The CONTEXT_NUMBERS at `time` (seconds since 1970 UTC), shape (6,); each cycle as sine and cosine."""
    moment = datetime.fromtimestamp(time, UTC)
    hour = moment.hour + moment.minute / 60
    turns = (
        (moment.weekday() + hour / 24) / 7,
        hour / 24,
        (moment.timetuple().tm_yday - 1) / 365.25,
    )
    return _constant(np.array([f(2 * math.pi * turn) for turn in turns for f in (math.sin, math.cos)], np.float32))


def _constant(array: F32) -> F32:
    array.flags.writeable = False  # it is handed to every caller
    return array
