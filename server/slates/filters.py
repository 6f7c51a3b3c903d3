"""Which items may be in an answer: conditions on their rows as the store has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numba
import numpy as np
import numpy.typing as npt

from feature_repo import schema
from feature_repo.transforms import I64, History
from server.items import Shelf
from shoprank.v1.filter_pb2 import ItemFilter

DAY = 86_400
MAX_VALUES, MAX_BLOCKED, MAX_DAYS = 100, 1_000, 3_650
GROUPS = {"department": "departments", "category": "categories", "subcategory": "subcategories", "brand": "brands"}
"""Columns of the catalogue that items are grouped by, and the fields of a filter that name their values."""
Known = Mapping[str, frozenset[str]]
"""The values that the catalogue has of each of them."""

COLUMNS = np.array([[f.name for f in schema.ITEM_KEYS].index(f"item_{name}_key") for name in GROUPS], np.int64)
"""Where the key of each group is among an item's keys."""
_NUMBERS, _TIMES = ([f.name for f in block] for block in (schema.ITEM_NUMBERS, schema.ITEM_TIMES))
PRICE, RELATIVE_PRICE = _NUMBERS.index("item_price"), _NUMBERS.index("item_relative_price")
LAST_AT = _TIMES.index("item_last_purchase_at")
ROUNDING = 2.0**-22
"""Share of a price that a bound is wider by: a price is the product of two float32, each off by up to 2^-24 of it."""
ANY_TIME = np.iinfo(np.int64).min
_MARKS = 4_096

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Refusals(Protocol):
    """Collects bad fields; see `server.parse.Violations`."""

    def add(self, name: str, description: str) -> None:
        """A field is bad."""
        ...

    def identifier(self, name: str, value: str) -> None:
        """Look at an id."""
        ...


@dataclass(frozen=True, slots=True)
class Traits:
    """What filters look at, of n items. keys: int64 (n,), the items' own, 0 for an item that the store does not have;
    groups: int64 (4, n), keys of GROUPS; prices: float64 (n,), NaN for none; sold_at: int64 (n,), seconds since 1970, 0
    for never."""

    keys: I64
    groups: I64
    prices: F64
    sold_at: I64

    @classmethod
    def of(cls, shelf: Shelf, positions: I64) -> Traits:
        """Of the items at positions (n,) of a shelf; a position below 0 is of an item that the store does not have."""
        rows = shelf.rows
        relative = rows.numbers[positions, RELATIVE_PRICE].astype(np.float64)
        relative = np.where(np.isfinite(relative), relative, 1.0)
        return cls(
            keys=np.where(positions < 0, 0, rows.keys[positions, 0]),
            groups=rows.keys[positions, COLUMNS[:, None]],
            prices=rows.numbers[positions, PRICE] * relative,
            sold_at=rows.times[positions, LAST_AT],
        )


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions, all of which must hold.

    allowed, denied: keys, those of each of GROUPS one behind the other, and where they end, int64 (5,). low, high: of
    the price, NaN for no bound. sold_within, not_bought_within: seconds, 0 for no bound. blocked: keys of items.
    """

    allowed: I64
    allowed_ends: I64
    denied: I64
    denied_ends: I64
    low: float
    high: float
    sold_within: int
    not_bought_within: int
    blocked: I64

    def passing(self, items: Traits, history: History, time: int) -> Mask:
        """Which of n items pass, bool (n,), for a user of that history at a time."""
        blocked = self.blocked
        if self.not_bought_within:
            end = int(history.ends[1])
            last_at = history.last_at[:end]  # 0 for what was looked at alone
            bought = (last_at > 0) & (last_at >= time - self.not_bought_within)
            blocked = np.union1d(blocked, history.keys[:end][bought])
        found: Mask = _passing(
            items.keys, items.groups, items.prices, items.sold_at, self.allowed, self.allowed_ends, self.denied,
            self.denied_ends, self.low * (1 - ROUNDING), self.high * (1 + ROUNDING),
            time - self.sold_within if self.sold_within else ANY_TIME, blocked,
        )  # fmt: skip
        return found


_types = numba.types
_longs = _types.Array(_types.int64, 1, "C", readonly=True)
_rows_of_longs = _types.Array(_types.int64, 2, "C", readonly=True)
_floats = _types.Array(_types.float64, 1, "C", readonly=True)


@numba.njit(cache=True)
def _among(key: int, keys: Any, start: int, end: int) -> bool:
    for i in range(start, end):  # noqa: SIM110  (Numba compiles no generator expression)
        if keys[i] == key:
            return True
    return False


@numba.njit(cache=True)
def _of_groups(i: int, groups: Any, allowed: Any, allowed_ends: Any, denied: Any, denied_ends: Any) -> bool:
    """Whether an item is of the groups that it must be of, and of none that it must not."""
    for group in range(len(groups)):
        start, end = allowed_ends[group], allowed_ends[group + 1]
        if start < end and not _among(groups[group, i], allowed, start, end):
            return False
        start, end = denied_ends[group], denied_ends[group + 1]
        if start < end and _among(groups[group, i], denied, start, end):
            return False
    return True


@numba.njit(
    _types.boolean[::1](
        _longs, _rows_of_longs, _floats, _longs, _longs, _longs, _longs, _longs, _types.float64, _types.float64,
        _types.int64, _longs,
    ),
    cache=True, nogil=True,
)  # fmt: skip
def _passing(
    keys: Any, groups: Any, prices: Any, sold_at: Any, allowed: Any, allowed_ends: Any, denied: Any, denied_ends: Any,
    low: float, high: float, sold_since: int, blocked: Any,
) -> Any:  # fmt: skip
    """See `Filter.passing`. blocked: ascending. sold_since: ANY_TIME where it need not have been sold."""
    out, priced = np.zeros(len(keys), np.bool_), not (math.isnan(low) and math.isnan(high))
    marks = np.zeros(_MARKS, np.bool_)  # of blocked keys, whose lower bits are as good as random: most need no search
    for key in blocked:
        marks[key & (_MARKS - 1)] = True
    for i in range(len(keys)):
        if keys[i] == 0 or not _of_groups(i, groups, allowed, allowed_ends, denied, denied_ends):
            continue
        if priced and (math.isnan(prices[i]) or prices[i] < low or prices[i] > high):
            continue
        if sold_since != ANY_TIME and (sold_at[i] == 0 or sold_at[i] < sold_since):
            continue
        if len(blocked) and marks[keys[i] & (_MARKS - 1)]:
            at = np.searchsorted(blocked, keys[i])
            if at < len(blocked) and blocked[at] == keys[i]:
                continue
        out[i] = True
    return out


def filter_of(message: ItemFilter, bad: Refusals, known: Known | None) -> Filter:
    """The filter of a message; `bad` is told of every bad field. known: values there are; any where it is None."""
    allowed = [_values(message, f"{field}", group, bad, known) for group, field in GROUPS.items()]
    denied = [_values(message, f"excluded_{field}", group, bad, known) for group, field in GROUPS.items()]
    low, high = _price(message, "min_price", bad), _price(message, "max_price", bad)
    if low > high:
        bad.add("filter.max_price", f"is below filter.min_price: {high:g} < {low:g}")
    count = len(message.blocked_item_ids)
    if count > MAX_BLOCKED:
        bad.add("filter.blocked_item_ids", f"has {count} entries, at most {MAX_BLOCKED:,} are allowed")
    else:
        for i, item_id in enumerate(message.blocked_item_ids):
            bad.identifier(f"filter.blocked_item_ids[{i}]", item_id)
    ids = message.blocked_item_ids[:MAX_BLOCKED]
    return Filter(
        *_joined(allowed),
        *_joined(denied),
        low=low,
        high=high,
        sold_within=_days(message, "sold_within_days", bad) * DAY,
        not_bought_within=_days(message, "not_bought_within_days", bad) * DAY,
        blocked=np.sort(np.array([schema.key_of(item_id) for item_id in ids], np.int64)),
    )


def _values(message: ItemFilter, field: str, group: str, bad: Refusals, known: Known | None) -> list[int]:
    values = list(getattr(message, field))
    if len(values) > MAX_VALUES:
        bad.add(f"filter.{field}", f"has {len(values)} entries, at most {MAX_VALUES} are allowed")
        return []
    if known is not None:
        for i, value in enumerate(values):
            if value not in known[group]:
                bad.add(f"filter.{field}[{i}]", f"is no {group} of the catalogue: {value!r:.80}")
    return [schema.key_of(value) for value in values]


def _price(message: ItemFilter, field: str, bad: Refusals) -> float:
    if not message.HasField(field):  # type: ignore[arg-type]  # one of its fields
        return math.nan
    value = float(getattr(message, field))
    if not (math.isfinite(value) and value >= 0):
        bad.add(f"filter.{field}", f"is not a finite number of 0 or more: {value}")
    return value


def _days(message: ItemFilter, field: str, bad: Refusals) -> int:
    if not message.HasField(field):  # type: ignore[arg-type]  # one of its fields
        return 0
    value = int(getattr(message, field))
    if not 1 <= value <= MAX_DAYS:
        bad.add(f"filter.{field}", f"is not between 1 and {MAX_DAYS:,}: {value}")
    return value


def _joined(keys: list[list[int]]) -> tuple[I64, I64]:
    ends = np.cumsum([0, *map(len, keys)], dtype=np.int64)
    return np.array([key for group in keys for key in group], np.int64), ends
