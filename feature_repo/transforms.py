"""User × item features: one pure function of (user row, item rows, time), for training and serving alike.

Everything is IEEE addition, multiplication and division on float32 or float64 arrays, and each transcendental
is taken once, as a scalar, so a pair's features are the same bits whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo import schema

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Affinity:
    """A user's history with one kind of thing, an entry each, keys ascending.

    keys, first_at, last_at: int64 (m,); purchases, recent, steady, interest: float32 (m,).
    """

    keys: I64
    first_at: I64
    last_at: I64
    purchases: F32
    recent: F32
    steady: F32
    interest: F32


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user's features: numbers float32 (17,), times int64 (3,), keys int64 (7,), an affinity a level."""

    numbers: F32
    times: I64
    keys: I64
    affinities: tuple[Affinity, ...]

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
    """Features of n items: numbers float32 (n, 17), times int64 (n, 3), keys int64 (n, 6)."""

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

    Raises ValueError where the arrays of one affinity differ in length.
    """
    return UserRow(
        numbers=np.array([_number(values.get(f.name)) for f in schema.USER_NUMBERS], np.float32),
        times=np.array([values.get(f.name) or 0 for f in schema.USER_TIMES], np.int64),
        keys=np.array([values.get(f.name) or 0 for f in schema.USER_KEYS], np.int64),
        affinities=tuple(_affinity(values, level) for level in schema.LEVELS),
    )


def _affinity(values: Mapping[str, Any], level: str) -> Affinity:
    def column(feature: schema.Feature, dtype: type) -> npt.NDArray[Any]:
        value = values.get(schema.affinity_column(level, feature))
        return np.zeros(0, dtype) if value is None else np.asarray(value, dtype)

    arrays = {
        schema.AFFINITY_KEYS.name: column(schema.AFFINITY_KEYS, np.int64),
        **{f.name: column(f, np.int64) for f in schema.AFFINITY_TIMES},
        **{f.name: column(f, np.float32) for f in schema.AFFINITY_NUMBERS},
    }
    if len({len(a) for a in arrays.values()}) != 1:
        raise ValueError(f"{level} affinity: arrays differ in length: { {k: len(a) for k, a in arrays.items()} }")
    return Affinity(**arrays)


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


def assemble(user: UserRow, items: ItemRows, time: int) -> ModelInput:
    """The model's input for one user against n items at `time` (seconds since 1970 UTC).

    Returns numeric (n, len(NUMERIC)) and categorical (n, len(CATEGORICAL)).
    """
    n = len(items)
    numeric: F32 = np.empty((n, len(schema.NUMERIC)), np.float32)
    at = 0
    for block in (
        user.numbers,
        items.numbers,
        *pair_features(user, items, time),
        context_features(time),
    ):
        width = block.shape[-1]
        numeric[:, at : at + width] = block
        at += width
    categorical = np.empty((n, len(schema.CATEGORICAL)), np.int64)
    item_keys = items.keys.shape[1] - 1
    categorical[:, :item_keys] = items.keys[:, 1:]
    categorical[:, item_keys:] = user.keys
    return ModelInput(numeric, categorical)


def pair_features(user: UserRow, items: ItemRows, time: int) -> list[F32]:
    """User × item features at `time`: one (n, 10) block a level, then the (n, 8) cross block."""
    affinities = _affinity_features(user, items.keys, time)
    blocks = [affinities[:, j] for j in range(len(schema.LEVELS))]
    return [*blocks, _cross_features(user, items, time, blocks)]


def _affinity_features(user: UserRow, keys: I64, time: int) -> F32:
    """The PAIR_NUMBERS of n items at each level, (n, levels, 10); `keys` (n, ≥ levels) begins with the levels' keys.

    What is found at any level goes through the arithmetic together: a call of NumPy costs more than what it computes.
    """
    out = np.zeros((len(keys), len(schema.LEVELS), len(schema.PAIR_NUMBERS)), np.float32)
    out[:, :, 1:5] = np.nan
    rows, levels, places = _hits(user.affinities, keys)
    if not len(rows):
        return out

    def column(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(affinity, name) for affinity in user.affinities])[places]

    purchases, first, last = column("purchases"), column("first_at"), column("last_at")
    found = np.empty((len(rows), len(schema.PAIR_NUMBERS)), np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        bought = purchases > 0
        since_last = np.where(bought, (time - last) / DAY, np.nan)
        gap = np.where(purchases > 1, (last - first) / DAY / (purchases - 1), np.nan)
        found[:, 0] = purchases
        found[:, 1] = since_last
        found[:, 2] = np.where(bought, (time - first) / DAY, np.nan)
        found[:, 3] = gap
        found[:, 4] = np.where(gap > 0, since_last / gap, np.nan)
        found[:, 5] = purchases / user.numbers[_USER["user_purchases"]]
        found[:, 6] = purchases / user.numbers[_USER["user_orders"]]
    # Decayed counts are as of the snapshot, and decay on from there.
    elapsed = max(0.0, (time - user.as_of) / DAY) if user.as_of else 0.0
    for j, name in ((7, "recent"), (8, "steady"), (9, "interest")):
        found[:, j] = column(name) * np.float32(0.5 ** (elapsed / schema.HALF_LIFE_DAYS[name]))
    out[rows, levels] = found
    return out


def _hits(affinities: tuple[Affinity, ...], keys: I64) -> tuple[I64, I64, I64]:
    """Where items' keys are in the user's history: rows, levels, and places in the levels' arrays put together."""
    rows, levels, places = [], [], []
    start = 0
    for j, affinity in enumerate(affinities):
        if known := len(affinity.keys):
            wanted = keys[:, j]
            at = np.minimum(affinity.keys.searchsorted(wanted), known - 1)
            (hit,) = ((affinity.keys[at] == wanted) & (wanted != 0)).nonzero()
            rows.append(hit)
            levels.append(np.full(len(hit), j))
            places.append(at[hit] + start)
            start += known
    if not rows:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    return np.concatenate(rows), np.concatenate(levels), np.concatenate(places)


def _cross_features(user: UserRow, items: ItemRows, time: int, blocks: list[F32]) -> F32:
    """The CROSS_NUMBERS of n items; `blocks` are the affinity features of each level."""
    out = np.empty((len(items), len(schema.CROSS_NUMBERS)), np.float32)
    by_item, by_category, by_subcategory = blocks
    user_first, user_last = (_days_since(time, user.times[j]) for j in (1, 2))
    out[:, 0] = user_first
    out[:, 1] = user_last
    with np.errstate(divide="ignore", invalid="ignore"):
        out[:, 2] = user_last / user.numbers[_USER["user_order_gap_days"]]
        out[:, 3] = _days_since(time, items.times[:, 1])
        out[:, 4] = _days_since(time, items.times[:, 2])
        out[:, 5] = by_item[:, 1] / items.numbers[:, _ITEM["item_gap_days"]]
        out[:, 6] = by_item[:, 0] / by_subcategory[:, 0]
        out[:, 7] = by_item[:, 0] / by_category[:, 0]
    out[~np.isfinite(out)] = np.nan
    return out


def _days_since(time: int, then: Any) -> Any:
    return np.where(then > 0, (time - then) / DAY, np.nan)


def context_features(time: int) -> F32:
    """The CONTEXT_NUMBERS at `time` (seconds since 1970 UTC), shape (6,); each cycle as sine and cosine."""
    moment = datetime.fromtimestamp(time, UTC)
    hour = moment.hour + moment.minute / 60
    turns = (
        (moment.weekday() + hour / 24) / 7,
        hour / 24,
        (moment.timetuple().tm_yday - 1) / 365.25,
    )
    return np.array([f(2 * math.pi * turn) for turn in turns for f in (math.sin, math.cos)], np.float32)


_USER = {f.name: j for j, f in enumerate(schema.USER_NUMBERS)}
_ITEM = {f.name: j for j, f in enumerate(schema.ITEM_NUMBERS)}
