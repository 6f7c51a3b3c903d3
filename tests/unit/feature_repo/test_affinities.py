"""Pair features and their parts are those of a plain reckoning, one pair after the other."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import pairs, schema
from feature_repo.transforms import (
    F32,
    Affinities,
    ItemRows,
    UserRow,
    affinities_of,
    decays,
    item_rows,
    pair_features_of,
    user_row,
)

NOW = 1_700_000_000
DAY = 86_400
KEYS = st.integers(0, 12)
"""Few, so that items share categories, levels share keys, and users met them."""


@st.composite
def users(draw: Any) -> UserRow:
    """Users with histories of any kind: never bought, bought once, often, or not at all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values: dict[str, Any] = {
        "user_as_of": NOW - int(rng.integers(0, 30)) * DAY,
        "user_first_purchase_at": int(rng.integers(0, 2)) * (NOW - 100 * DAY),
        "user_last_purchase_at": int(rng.integers(0, 2)) * (NOW - 3 * DAY),
        "user_orders": draw(st.sampled_from([None, 0.0, 4.0])),
        "user_purchases": draw(st.sampled_from([None, 0.0, 9.0])),
        "user_order_gap_days": draw(st.sampled_from([None, 0.0, 2.5])),
    }
    for level in schema.LEVELS:
        keys = sorted(draw(st.sets(KEYS)))
        first = NOW - rng.integers(0, 100, len(keys)) * DAY
        arrays = {
            "keys": keys,
            "first_at": first,
            "last_at": first + rng.integers(0, 50, len(keys)) * DAY,
            "purchases": rng.integers(0, 4, len(keys)).astype(float),
            "recent": rng.random(len(keys)),
            "steady": rng.random(len(keys)),
            "interest": rng.random(len(keys)),
        }
        values |= {f"user_{level}_{name}": array for name, array in arrays.items()}
    return user_row(values)


def items_of(items: list[tuple[int, int, int]]) -> ItemRows:
    """Items of these keys of item, category and subcategory."""
    rng = np.random.default_rng(len(items))
    columns: dict[str, Any] = {
        "item_key": [a for a, _, _ in items],
        "item_category_key": [b for _, b, _ in items],
        "item_subcategory_key": [c for _, _, c in items],
        "item_gap_days": rng.choice([np.nan, 0.0, 3.0], len(items)),
        "item_first_purchase_at": rng.choice([0, NOW - 50 * DAY], len(items)),
        "item_last_purchase_at": rng.choice([0, NOW - 5 * DAY], len(items)),
    }
    return item_rows(columns, len(items))


def facts_of(items: ItemRows) -> Any:
    return pairs.facts_of(items.numbers, items.times, items.keys)


def of_level(user: UserRow, level: int, key: int, orders: float, purchases: float) -> list[float]:
    """The PAIR_NUMBERS of one key."""
    h = user.history
    for i in range(h.ends[level], h.ends[level + 1]):
        if key != 0 and h.keys[i] == key:
            break
    else:
        return [0, *[np.nan] * 4, *[0] * 5]
    count, first, last = (float(a[i]) for a in (h.purchases, h.first_at, h.last_at))
    since_last, since_first = (NOW - last) / DAY, (NOW - first) / DAY
    gap = (last - first) / DAY / (count - 1) if count > 1 else np.nan
    decayed = [a[i] * by for a, by in zip((h.recent, h.steady, h.interest), decays(NOW, user.as_of), strict=True)]
    return [
        count,
        since_last if count > 0 else np.nan,
        since_first if count > 0 else np.nan,
        gap,
        since_last / gap if gap > 0 else np.nan,
        over(count, purchases),
        over(count, orders),
        *decayed,
    ]


def over(a: float, b: float) -> float:
    """a / b as IEEE has it, of float32."""
    with np.errstate(all="ignore"):
        return float(np.float32(a) / np.float32(b))


def finite(x: float) -> float:
    return x if np.isfinite(x) else np.nan


def since(at: int) -> float:
    return (NOW - at) / DAY if at > 0 else np.nan


def plainly(user: UserRow, items: ItemRows) -> F32:
    """`pair_features`, a pair at a time."""
    numbers = dict(zip((f.name for f in schema.USER_NUMBERS), user.numbers.tolist(), strict=True))
    orders, purchases = numbers["user_orders"], numbers["user_purchases"]
    gap_at = [f.name for f in schema.ITEM_NUMBERS].index("item_gap_days")
    out = []
    for own, at, keys in zip(items.numbers, items.times, items.keys, strict=True):
        levels = [of_level(user, level, int(keys[level]), orders, purchases) for level in range(3)]
        item, category, subcategory = levels
        last = since(int(user.times[2]))
        cross = [
            finite(since(int(user.times[1]))), finite(last), finite(over(last, numbers["user_order_gap_days"])),
            since(int(at[1])), since(int(at[2])),
            finite(over(item[1], own[gap_at])),
            finite(over(item[0], subcategory[0])), finite(over(item[0], category[0])),
        ]  # fmt: skip
        out.append([*item, *category, *subcategory, *cross])
    return np.array(out, np.float32).reshape(-1, pairs.WIDTH)


@given(users(), st.lists(st.tuples(KEYS, KEYS, KEYS), max_size=30))
def test_pair_features_are_those_of_a_plain_reckoning(user: UserRow, keys: list[tuple[int, int, int]]) -> None:
    items = items_of(keys)
    positions = np.random.default_rng(0).permutation(len(keys))
    got = pair_features_of(user, facts_of(items), positions, NOW)
    np.testing.assert_allclose(got, plainly(user, items.take(positions)), rtol=1e-6)


@given(st.lists(st.tuples(users(), st.lists(st.tuples(KEYS, KEYS, KEYS), max_size=12)), min_size=1, max_size=4))
def test_users_together_have_what_each_has_alone(asked: list[tuple[UserRow, list[tuple[int, int, int]]]]) -> None:
    items = items_of([keys for _, mine in asked for keys in mine])
    facts, at = facts_of(items), [0, *accumulate(len(mine) for _, mine in asked)]
    rows, times = [user for user, _ in asked], [NOW + i for i in range(len(asked))]
    numbers = np.stack([user.numbers for user in rows])
    found = affinities_of(rows, numbers, facts, np.arange(len(items)), at[1:], times)
    for i, user in enumerate(rows):
        mine = slice(at[i], at[i + 1])
        own = found._replace(rows=found.rows[mine], of_users=found.of_users[i : i + 1], ages=found.ages[:, mine].copy())
        got = np.empty((at[i + 1] - at[i], pairs.WIDTH), np.float32)
        pairs.spread(got, *own)
        np.testing.assert_array_equal(got, pair_features_of(user, facts, np.arange(at[i], at[i + 1]), times[i]))


def alone(user: UserRow, items: ItemRows) -> Affinities:
    """The affinities of one user's items."""
    return affinities_of((user,), user.numbers[None], facts_of(items), np.arange(len(items)), (len(items),), (NOW,))


def test_items_of_one_category_share_a_row() -> None:
    user = user_row({f"user_category_{f.name}": [5] for f in schema.AFFINITY})
    parts = alone(user, items_of([(i, 5, 0) for i in range(1, 100)]))
    assert set(parts.rows[:, 1].tolist()) == {1}
    assert parts.of_items.shape == (1, pairs.ROW, pairs.ABSENT_ROWS)
    assert parts.of_categories.shape == (2, len(schema.PAIR_NUMBERS), 2)


def test_an_unknown_user_has_the_rows_of_what_was_never_met() -> None:
    parts = alone(UserRow.unknown(), items_of([(1, 2, 3), (4, 5, 6)]))
    assert not parts.rows.any()
    assert np.isnan(parts.of_users).all()
    assert np.isnan(parts.of_items[0, pairs.ROW - 3 :, 0]).all()
