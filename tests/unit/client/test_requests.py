"""What the client refuses before it asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from shoprank.errors import InvalidRequest
from shoprank.requests import items_request, rank_request, score_request


def rank(user_id: Any = "u", item_ids: Any = None, **other: Any) -> Any:
    return rank_request(user_id, item_ids, **{"top_k": None, "temperature": None, "time": None, "channel": "", **other})


def test_no_candidates_means_the_catalogue_and_an_empty_list_is_refused() -> None:
    assert list(rank().item_ids) == []
    with pytest.raises(InvalidRequest, match="item_ids is empty; leave it out"):
        rank(item_ids=iter(()))


def test_a_text_is_no_list_of_ids() -> None:
    for build in (
        lambda: rank(item_ids="abc"),
        lambda: score_request("u", "abc", None, ""),
        lambda: items_request("a"),
    ):
        with pytest.raises(InvalidRequest, match="is one text, not a list of ids: 'a"):
            build()


def test_every_value_that_does_not_fit_is_named() -> None:
    with pytest.raises(InvalidRequest) as error:
        rank(user_id=7, item_ids=["a", 3], top_k=2**40, temperature="warm")
    assert [v.field for v in error.value.violations] == ["user_id", "item_ids", "top_k", "temperature"]
    with pytest.raises(InvalidRequest, match="user_id does not fit"):
        rank(user_id="\udcff")


def test_a_time_that_is_none_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"context\.time is no datetime: '2017-12-04'"):
        rank(time="2017-12-04")


def test_ids_may_come_from_a_generator() -> None:
    assert list(rank(item_ids=(str(i) for i in range(3))).item_ids) == ["0", "1", "2"]


def test_a_naive_time_is_utc_and_time_is_rounded_down() -> None:
    naive = datetime(2017, 12, 4, 12)
    aware = naive.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=5)))
    assert rank(time=naive).context.time == rank(time=aware).context.time
    assert rank(time=datetime(1969, 12, 31, 23, 59, 59, 500_000)).context.time.seconds == -1


def test_unset_options_stay_unset() -> None:
    request = rank(item_ids=["a"])
    assert not request.HasField("top_k")
    assert not request.HasField("temperature")
    assert not request.context.HasField("time")
