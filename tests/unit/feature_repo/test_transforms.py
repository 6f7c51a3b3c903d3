"""User × item features by hand."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo import schema
from feature_repo.transforms import UserRow, assemble, context_features, item_rows, user_row

NOW = 1_700_000_000
DAY = 86_400


def user(**changes: object) -> UserRow:
    values: dict[str, object] = {
        "user_as_of": NOW - 14 * DAY,
        "user_purchases": 10.0,
        "user_orders": 5.0,
        "user_item_keys": [7, 9],
        "user_item_purchases": [3.0, 1.0],
        "user_item_first_at": [NOW - 40 * DAY, NOW - 20 * DAY],
        "user_item_last_at": [NOW - 20 * DAY, NOW - 20 * DAY],
        "user_item_recent": [2.0, 1.0],
        "user_item_steady": [2.0, 1.0],
        "user_item_interest": [0.0, 4.0],
    }
    return user_row({**values, **changes})


def features(row: UserRow, key: int) -> dict[str, float]:
    numeric = assemble(row, item_rows({"item_key": [key]}, 1), NOW).numeric
    return dict(zip(schema.NUMERIC, numeric[0].tolist(), strict=True))


def test_an_item_bought_before_has_its_history() -> None:
    got = features(user(), 7)
    assert got["ui_purchases"] == 3
    assert got["ui_days_since_last"] == 20
    assert got["ui_gap_days"] == 10
    assert got["ui_gap_ratio"] == 2
    assert got["ui_share"] == pytest.approx(0.3)
    assert got["ui_order_share"] == pytest.approx(0.6)


def test_decayed_counts_go_on_decaying_after_the_snapshot() -> None:
    got = features(user(), 7)
    assert got["ui_recent"] == pytest.approx(1.0)
    assert got["ui_steady"] == pytest.approx(2 * 0.5**0.25)


def test_an_item_never_bought_is_missing_rather_than_zero_days() -> None:
    got = features(user(), 8)
    assert got["ui_purchases"] == 0
    assert np.isnan([got["ui_days_since_last"], got["ui_gap_days"], got["ui_gap_ratio"]]).all()


def test_one_purchase_has_no_gap() -> None:
    assert np.isnan(features(user(), 9)["ui_gap_days"])


def test_a_missing_key_matches_nothing() -> None:
    assert features(user(user_item_keys=[0, 9]), 0)["ui_purchases"] == 0


def test_an_unknown_user_has_only_item_and_context_features() -> None:
    numeric = assemble(UserRow.unknown(), item_rows({"item_key": [7], "item_price": [2.5]}, 1), NOW).numeric[0]
    by_name = dict(zip(schema.NUMERIC, numeric.tolist(), strict=True))
    assert by_name["item_price"] == 2.5
    assert np.isnan(by_name["user_orders"])
    assert by_name["ui_purchases"] == 0


def test_a_pairs_features_do_not_depend_on_the_rest_of_the_batch() -> None:
    rng = np.random.default_rng(0)
    keys = rng.permutation(np.arange(1, 200))
    columns = {"item_key": keys, "item_gap_days": rng.random(len(keys))}
    items = item_rows(columns, len(keys))
    together = assemble(user(), items, NOW).numeric
    for i in range(0, len(keys), 13):
        alone = assemble(user(), items.take(np.array([i])), NOW).numeric[0]
        np.testing.assert_array_equal(together[i].view(np.uint32), alone.view(np.uint32))


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="item history: arrays differ in length"):
        user(user_item_recent=[1.0])


def test_context_repeats_after_a_week() -> None:
    now, later = context_features(NOW), context_features(NOW + 7 * DAY)
    np.testing.assert_allclose(now[:4], later[:4], atol=1e-6)
    assert not np.allclose(now[4:], later[4:])


def test_keys_are_stable_and_never_zero() -> None:
    assert schema.key_of("123") == 8091599832034528150
    assert len({schema.key_of(str(i)) for i in range(10_000)} - {0}) == 10_000


def test_the_schema_hash_depends_on_the_order() -> None:
    assert schema.schema_hash() != schema.schema_hash(schema.NUMERIC[::-1])
