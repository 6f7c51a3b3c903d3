"""The list of features: name, type and meaning of each, in the order in which arrays carry them.

Feast views, snapshots, training sets and the server's input arrays are all built from these tuples, so a
feature is added by one line here and its expression in `training/features/`.

Naming: `user_*`, `item_*` are columns of the user and item rows; `ui_*`, `uc_*`, `us_*` pair a user with an
item, its category, its subcategory and are computed at request time by `feature_repo.transforms`. A time is
seconds since 1970-01-01 UTC; a key is `key_of(text)`; a missing number is NaN (null in Parquet), a missing
time or key is 0.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its name and what it means, with its unit."""

    name: str
    description: str


def key_of(text: str) -> int:
    """Stable 63-bit key of an id or category: the low 64 bits of its MD5 with the sign bit cleared.

    Equal to DuckDB's `md5_number_lower(text) & 0x7FFFFFFFFFFFFFFF`. Never 0, which means "missing".
    """
    low = int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[8:], "little")
    return (low & 0x7FFFFFFFFFFFFFFF) or 1


USER_NUMBERS = (
    Feature("user_orders", "distinct orders so far"),
    Feature("user_orders_7d", "distinct orders in the last 7 days"),
    Feature("user_orders_28d", "distinct orders in the last 28 days"),
    Feature("user_orders_84d", "distinct orders in the last 84 days"),
    Feature("user_purchases", "order lines so far"),
    Feature("user_purchases_28d", "order lines in the last 28 days"),
    Feature("user_spend", "money spent so far, in the shop's currency"),
    Feature("user_spend_28d", "money spent in the last 28 days"),
    Feature("user_basket_items", "mean order lines an order"),
    Feature("user_basket_spend", "mean money spent an order"),
    Feature("user_order_gap_days", "mean days between orders; null below two orders"),
    Feature("user_discount_share", "discount as a share of the undiscounted value, 0 to 1"),
    Feature("user_distinct_items", "distinct items bought"),
    Feature("user_distinct_categories", "distinct categories bought"),
    Feature("user_repeat_share", "share of order lines that buy an item again, 0 to 1"),
    Feature("user_views_28d", "views, searches and clicks in the last 28 days"),
    Feature("user_carts_28d", "items put into a cart in the last 28 days"),
    Feature(
        "user_mailed_purchase_share", "share of order lines of items while advertised, 0 to 1; null without a plan"
    ),
)
USER_TIMES = (
    Feature("user_as_of", "the snapshot's cutoff"),
    Feature("user_first_purchase_at", "first purchase"),
    Feature("user_last_purchase_at", "last purchase"),
)
USER_KEYS = (
    Feature("user_age_key", "age band"),
    Feature("user_income_key", "income band"),
    Feature("user_home_key", "home ownership"),
    Feature("user_marital_key", "marital status"),
    Feature("user_household_size_key", "persons in the household"),
    Feature("user_household_key", "household composition"),
    Feature("user_children_key", "children in the household"),
)
USER_TRAITS = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_composition",
    "children",
)
"""What the values behind USER_KEYS are called, in that order, in the table of users and in requests."""

ITEM_NUMBERS = (
    Feature("item_purchases", "order lines so far"),
    Feature("item_purchases_7d", "order lines in the last 7 days"),
    Feature("item_purchases_28d", "order lines in the last 28 days"),
    Feature("item_purchases_84d", "order lines in the last 84 days"),
    Feature("item_buyers", "distinct buyers so far"),
    Feature("item_buyers_28d", "distinct buyers in the last 28 days"),
    Feature("item_repeat_rate", "share of its buyers who bought it at least twice, 0 to 1"),
    Feature("item_purchases_per_buyer", "order lines a buyer"),
    Feature("item_gap_days", "mean days until the same buyer buys it again; null if never"),
    Feature("item_price", "mean unit price paid so far"),
    Feature("item_relative_price", "mean unit price of the last 28 days over the mean so far"),
    Feature("item_discount_share", "discount as a share of the undiscounted value so far, 0 to 1"),
    Feature("item_discount_share_28d", "the same over the last 28 days"),
    Feature("item_trend", "purchases of the last 7 days over the weekly mean of the last 28, each plus one"),
    Feature("item_category_share_28d", "share of its category's order lines in the last 28 days, 0 to 1"),
    Feature("item_views_28d", "views, searches and clicks in the last 28 days"),
    Feature("item_carts_28d", "times put into a cart in the last 28 days"),
    Feature("item_display_share", "share of shops that display it in the 7 days to come, 0 to 1; null if untold"),
    Feature("item_mailer_share", "share of shops that advertise it in the 7 days to come"),
    Feature("item_front_share", "share of shops that have it on the advertisement's front page in the 7 days to come"),
    Feature("item_mailer_share_before", "share of shops that advertised it in the last 7 days"),
    Feature("item_mailed_purchase_share", "share of its order lines sold while advertised, 0 to 1"),
)
ITEM_TIMES = (
    Feature("item_as_of", "the snapshot's cutoff"),
    Feature("item_first_purchase_at", "first purchase"),
    Feature("item_last_purchase_at", "last purchase"),
)
ITEM_KEYS = (
    Feature("item_key", "the item itself"),
    Feature("item_category_key", "category"),
    Feature("item_subcategory_key", "subcategory"),
    Feature("item_department_key", "department"),
    Feature("item_brand_key", "brand"),
    Feature("item_manufacturer_key", "manufacturer"),
)

LEVELS = ("item", "category", "subcategory")
"""What a user's affinity is kept for; `ITEM_KEYS` begins with the matching keys, in this order."""

AFFINITY_KEYS = Feature("keys", "key of each thing the user bought or looked at, ascending")
AFFINITY_TIMES = (
    Feature("first_at", "its first purchase"),
    Feature("last_at", "its last purchase"),
)
AFFINITY_NUMBERS = (
    Feature("purchases", "its order lines so far"),
    Feature("recent", "its order lines, each halved every 14 days"),
    Feature("steady", "its order lines, each halved every 56 days"),
    Feature("interest", "its views, clicks and carts, each halved every 14 days"),
)
AFFINITY = (AFFINITY_KEYS, *AFFINITY_TIMES, *AFFINITY_NUMBERS)
"""Arrays of each level of a user's history, an entry each for every thing."""
HALF_LIFE_DAYS = {"recent": 14.0, "steady": 56.0, "interest": 14.0}


def affinity_column(level: str, feature: Feature) -> str:
    """Name of one affinity array in the user row, such as `user_item_last_at`."""
    return f"user_{level}_{feature.name}"


def affinity_type(feature: Feature) -> type[np.int64] | type[np.float32]:
    """NumPy type of an affinity array."""
    return np.int64 if feature in (AFFINITY_KEYS, *AFFINITY_TIMES) else np.float32


AFFINITY_COLUMNS = tuple(affinity_column(level, feature) for level in LEVELS for feature in AFFINITY)

PAIR_NUMBERS = (
    Feature("purchases", "times bought"),
    Feature("days_since_last", "days since last bought; null if never"),
    Feature("days_since_first", "days since first bought; null if never"),
    Feature("gap_days", "mean days between purchases; null below two"),
    Feature("gap_ratio", "days since last bought over the mean gap; null below two purchases"),
    Feature("share", "share of the user's order lines, 0 to 1"),
    Feature("order_share", "times bought an order of the user's"),
    Feature("recent", "times bought, each halved every 14 days"),
    Feature("steady", "times bought, each halved every 56 days"),
    Feature("interest", "views, clicks and carts, each halved every 14 days"),
)
PAIR_PREFIX = {"item": "ui", "category": "uc", "subcategory": "us"}
CROSS_NUMBERS = (
    Feature("user_days_since_first", "days since the user's first purchase"),
    Feature("user_days_since_last", "days since the user's last purchase"),
    Feature("user_overdue", "days since the last purchase over the user's mean gap between orders"),
    Feature("item_days_since_first", "days since the item was first bought by anyone"),
    Feature("item_days_since_last", "days since the item was last bought by anyone"),
    Feature("ui_item_gap_ratio", "days since the user last bought the item over the item's mean gap"),
    Feature("ui_subcategory_share", "share of the user's purchases in the subcategory that are this item"),
    Feature("ui_category_share", "share of the user's purchases in the category that are this item"),
)
CONTEXT_NUMBERS = (
    Feature("ctx_weekday_sin", "day of the week, as a sine"),
    Feature("ctx_weekday_cos", "day of the week, as a cosine"),
    Feature("ctx_hour_sin", "hour of the day, as a sine"),
    Feature("ctx_hour_cos", "hour of the day, as a cosine"),
    Feature("ctx_week_sin", "week of the year, as a sine"),
    Feature("ctx_week_cos", "week of the year, as a cosine"),
)

NUMERIC = (
    *(f.name for f in USER_NUMBERS),
    *(f.name for f in ITEM_NUMBERS),
    *(f"{PAIR_PREFIX[level]}_{f.name}" for level in LEVELS for f in PAIR_NUMBERS),
    *(f.name for f in CROSS_NUMBERS),
    *(f.name for f in CONTEXT_NUMBERS),
)
"""Columns of the model's `numeric` input, in order."""

CATEGORICAL = (*(f.name for f in ITEM_KEYS[1:]), *(f.name for f in USER_KEYS))
"""Columns of the model's `categorical` input, in order; the item's own key is not among them."""


@dataclass(frozen=True, slots=True)
class Part:
    """Columns that come from one place. numeric, categorical: their positions in NUMERIC and CATEGORICAL."""

    numeric: tuple[int, ...]
    categorical: tuple[int, ...]


_ITEM_AT = len(USER_NUMBERS)
_PAIR_AT = _ITEM_AT + len(ITEM_NUMBERS)
_CONTEXT_AT = len(NUMERIC) - len(CONTEXT_NUMBERS)
_USER_KEYS_AT = len(ITEM_KEYS) - 1

_CROSS_AT = _CONTEXT_AT - len(CROSS_NUMBERS)
_ITEM_CROSS_AT, _BOTH_CROSS_AT = _CROSS_AT + 3, _CROSS_AT + 5

OF_USER = Part(
    (*range(_ITEM_AT), *range(_CONTEXT_AT, len(NUMERIC)), *range(_CROSS_AT, _ITEM_CROSS_AT)),
    tuple(range(_USER_KEYS_AT, len(CATEGORICAL))),
)
"""What is the same for every item of a request: the user's columns and those of the time, and of both."""
OF_ITEM = Part(tuple(range(_ITEM_AT, _PAIR_AT)), tuple(range(_USER_KEYS_AT)))
OF_LEVELS = tuple(
    Part((*range(at, at + len(PAIR_NUMBERS)), *(range(_BOTH_CROSS_AT, _CONTEXT_AT) if at == _PAIR_AT else ())), ())
    for at in range(_PAIR_AT, _CROSS_AT, len(PAIR_NUMBERS))
)
"""What is of the user and, at each level, of the item, its category or its subcategory."""
TABLES = (("of_items", OF_LEVELS[:1]), ("of_categories", OF_LEVELS[1:]))
"""The tables of affinities (`feature_repo.transforms.Affinities`): the name of each and its levels, equally wide."""
OF_AGE = Part(tuple(range(_ITEM_CROSS_AT, _BOTH_CROSS_AT)), ())
"""What is of the item and the time."""


def schema_hash(numeric: tuple[str, ...] = NUMERIC, categorical: tuple[str, ...] = CATEGORICAL) -> str:
    """SHA-256 (hex) of the ordered feature names: what a model was trained on and a server must provide."""
    return hashlib.sha256(json.dumps([numeric, categorical]).encode()).hexdigest()
