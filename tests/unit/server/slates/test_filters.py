"""What passes a filter, of items and users that are made up here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.schema import key_of
from feature_repo.transforms import UserRow, user_row
from server.items import Shelf
from server.parse import Violations
from server.slates.filters import GROUPS, PRICE, RELATIVE_PRICE, Filter, Traits, filter_of
from shoprank.v1.filter_pb2 import ItemFilter

TIME, DAY = 1_700_000_000, 86_400
VALUES = ("a", "b", "c", "")


def made(**fields: Any) -> Filter:
    bad = Violations()
    found = filter_of(ItemFilter(**fields), bad, None)
    bad.refuse(ItemFilter)
    return found


def traits(**columns: Any) -> Traits:
    """Items i0, i1 … of these departments, prices and days since they were sold."""
    departments = columns["departments"]
    count = len(departments)
    groups = np.zeros((len(GROUPS), count), np.int64)
    groups[0] = [key_of(value) if value else 0 for value in departments]
    return Traits(
        keys=np.array([key_of(f"i{i}") for i in range(count)], np.int64),
        groups=groups,
        prices=np.array(columns.get("prices", [1] * count), np.float64),
        sold_at=np.array([TIME - days * DAY for days in columns.get("sold", [1] * count)], np.int64)
        if "sold_at" not in columns
        else np.array(columns["sold_at"], np.int64),
    )


def bought(days: dict[str, int]) -> UserRow:
    keys = sorted((key_of(item), since) for item, since in days.items())
    names = [("keys", [key for key, _ in keys]), ("last_at", [TIME - since * DAY for _, since in keys])]
    other = [(name, [0] * len(keys)) for name in ("first_at", "purchases", "recent", "steady", "interest")]
    return user_row({f"user_item_{name}": values for name, values in (*names, *other)})


def passed(what: Filter, items: Traits, user: UserRow | None = None, time: int = TIME) -> list[int]:
    found: npt.NDArray[np.bool_] = what.passing(items, (user or UserRow.unknown()).history, time)
    return np.flatnonzero(found).tolist()


def test_an_item_without_a_price_passes_no_bound_on_it() -> None:
    items = traits(departments=["a"] * 4, prices=[1, 5, math.nan, 9])
    assert passed(made(), items) == [0, 1, 2, 3]
    assert passed(made(min_price=5), items) == [1, 3]
    assert passed(made(max_price=5), items) == [0, 1]
    assert passed(made(min_price=2, max_price=6), items) == [1]


def test_a_price_passes_the_bound_that_it_is() -> None:
    """A price is a mean times a ratio, both float32; cents beside it are still told apart."""
    mean = np.random.default_rng(0).uniform(0.5, 50, 2_000).astype(np.float32)
    shelf = Shelf.empty(len(mean), 0)
    for price in (0.99, 1.0, 1.99, 2.5, 10.0, 999.99):
        shelf.rows.numbers[:, PRICE] = mean
        shelf.rows.numbers[:, RELATIVE_PRICE] = price / mean.astype(np.float64)
        shelf.rows.keys[:] = 1
        items = Traits.of(shelf, np.arange(len(mean)))
        assert len(passed(made(min_price=price, max_price=price), items)) == len(mean)
        assert passed(made(min_price=price + 0.01), items) == passed(made(max_price=price - 0.01), items) == []


def test_days_that_reach_before_1970_are_days_like_others() -> None:
    items = traits(departments=["a"] * 3, sold_at=[0, 1, 5 * DAY])
    assert passed(made(sold_within_days=10), items, time=6 * DAY) == [1, 2]
    user = user_row(
        {"user_item_keys": sorted([key_of("i1"), key_of("i2")]), "user_item_last_at": [0, 0]}
        | {f"user_item_{name}": [0, 0] for name in ("first_at", "purchases", "recent", "steady", "interest")}
    )
    assert passed(made(not_bought_within_days=10), items, user, time=6 * DAY) == [0, 1, 2]


def test_an_item_of_no_department_is_of_none_that_is_asked_for() -> None:
    items = traits(departments=["a", "", "b"])
    assert passed(made(departments=["a", "b"]), items) == [0, 2]
    assert passed(made(excluded_departments=["a"]), items) == [1, 2]


def test_what_nobody_bought_lately_is_taken_to_be_gone() -> None:
    items = traits(departments=["a"] * 3, sold=[2, 7, 8])
    assert passed(made(sold_within_days=7), items) == [0, 1]


def test_what_the_user_bought_lately_is_left_out() -> None:
    items = traits(departments=["a"] * 4)
    user = bought({"i1": 3, "i2": 30, "of another shop": 1})
    assert passed(made(not_bought_within_days=7), items, user) == [0, 2, 3]
    assert passed(made(not_bought_within_days=30, blocked_item_ids=["i0"]), items, user) == [3]
    assert passed(made(not_bought_within_days=30), items) == [0, 1, 2, 3]


def test_an_item_the_store_does_not_have_passes_nothing() -> None:
    items = traits(departments=["a", "a"])
    items.keys[1] = 0
    assert passed(made(), items) == [0]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=8),
    st.lists(st.sampled_from(VALUES[:3]), unique=True),
    st.lists(st.sampled_from(VALUES[:3]), unique=True),
    st.lists(st.integers(0, 9), unique=True),
)
def test_every_condition_holds_for_what_passes(
    departments: list[str], allowed: list[str], denied: list[str], blocked: list[int]
) -> None:
    found = made(departments=allowed, excluded_departments=denied, blocked_item_ids=[f"i{i}" for i in blocked])
    expected = [
        i for i, department in enumerate(departments)
        if (not allowed or department in allowed) and department not in denied and i not in blocked
    ]  # fmt: skip
    assert passed(found, traits(departments=departments)) == expected
