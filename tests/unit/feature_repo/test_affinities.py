"""The parts of pair features are the pair features, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import pairs, schema
from feature_repo.transforms import F32, Affinities, UserRow, affinities_of, item_rows, pair_features_of, user_row

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


def facts_of(items: list[tuple[int, int, int]]) -> Any:
    rng = np.random.default_rng(len(items))
    columns: dict[str, Any] = {
        "item_key": [a for a, _, _ in items],
        "item_category_key": [b for _, b, _ in items],
        "item_subcategory_key": [c for _, _, c in items],
        "item_gap_days": rng.choice([np.nan, 0.0, 3.0], len(items)),
        "item_first_purchase_at": rng.choice([0, NOW - 50 * DAY], len(items)),
        "item_last_purchase_at": rng.choice([0, NOW - 5 * DAY], len(items)),
    }
    rows = item_rows(columns, len(items))
    return pairs.facts_of(rows.numbers, rows.times, rows.keys)


def together(parts: Affinities) -> F32:
    """The pair features of these parts."""
    levels = [table.T[rows] for table, rows in zip(parts.table, parts.rows.T, strict=True)]
    columns = [level[:, : len(schema.PAIR_NUMBERS)] for level in levels]
    of_user = np.broadcast_to(parts.of_user, (len(parts.rows), 3))
    return np.concatenate([*columns, of_user, parts.ages.T, levels[0][:, len(schema.PAIR_NUMBERS) :]], axis=1)


@given(users(), st.lists(st.tuples(KEYS, KEYS, KEYS), max_size=30))
def test_parts_put_together_are_the_pair_features(user: UserRow, items: list[tuple[int, int, int]]) -> None:
    facts, positions = facts_of(items), np.random.default_rng(0).permutation(len(items))
    got = together(affinities_of(user, facts, positions, NOW))
    expected = pair_features_of(user, facts, positions, NOW)
    np.testing.assert_array_equal(got.view(np.int32), expected.view(np.int32))


def test_items_of_one_category_share_a_row() -> None:
    user = user_row({f"user_category_{f.name}": [5] for f in schema.AFFINITY})
    parts = affinities_of(user, facts_of([(i, 5, 0) for i in range(1, 100)]), np.arange(99), NOW)
    assert set(parts.rows[:, 1].tolist()) == {1}
    assert parts.table.shape == (3, pairs.ROW, pairs.ABSENT_ROWS)


def test_an_unknown_user_has_the_rows_of_what_was_never_met() -> None:
    parts = affinities_of(UserRow.unknown(), facts_of([(1, 2, 3), (4, 5, 6)]), np.arange(2), NOW)
    assert not parts.rows.any()
    assert np.isnan(parts.of_user).all()
    assert np.isnan(parts.table[0, pairs.ROW - 3 :, 0]).all()
