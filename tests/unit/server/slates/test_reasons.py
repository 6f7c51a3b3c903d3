"""What the user's own purchases of an item say, of users that are made up here."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo.schema import key_of
from server.retrieval.history import History
from server.retrieval.keys import KeyIndex
from server.retrieval.retriever import Candidates
from server.slates.reasons import Reason, _of_history
from tests.stored_users import DAY, TIME, user_of

ONE = Candidates(np.zeros(1, np.int32), np.ones(1, np.uint32), np.zeros(1, np.int32))


def said(count: int, gap: float, since: float) -> Reason | None:
    """Of an item bought so often, so many days apart, and so many days ago for the last time."""
    last = TIME - since * DAY
    item = {"first_at": last - gap * (count - 1) * DAY, "last_at": last, "purchases": count}
    keys = KeyIndex(np.array([key_of("milk")], np.int64))
    (reason,) = _of_history(History.of(user_of({"milk": item}), TIME, keys), ONE)
    return reason


@pytest.mark.parametrize(
    ("gap", "since", "days"), [(1, 28, "every day"), (9, 1, "every 9 days"), (30, 119, "every 30 days")]
)
def test_what_was_bought_three_times_and_lately_is_bought_regularly(gap: float, since: float, days: str) -> None:
    assert said(3, gap, since) == Reason("BUYS_REGULARLY", f"you buy this about {days}", gap_days=gap)


def test_what_was_bought_twice_is_not_bought_regularly() -> None:
    assert said(2, 7, 1) == Reason("BOUGHT_BEFORE", "you bought this 2 times")


@pytest.mark.parametrize(("gap", "since"), [(1, 29), (9, 37), (30, 121)])
def test_what_was_bought_for_the_last_time_more_than_four_gaps_ago_is_not_bought_regularly(
    gap: float, since: float
) -> None:
    assert said(5, gap, since) == Reason("BOUGHT_BEFORE", "you bought this 5 times")


def test_several_purchases_in_one_day_are_no_rhythm() -> None:
    assert said(4, 0.1, 1) == Reason("BOUGHT_BEFORE", "you bought this 4 times")
