"""What the client refuses before it asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from shoprank.errors import InvalidRequest
from shoprank.requests import items_request, rank_request, score_request
from shoprank.slates import Likeness, SlateRules, recommend_request, similar_request
from shoprank.v1.recommendation_pb2 import Likeness as Kind


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


def fields(make: Callable[..., Any], *arguments: Any, **named: Any) -> list[str]:
    """Those that a request is refused for."""
    with pytest.raises(InvalidRequest) as error:
        make(*arguments, **named)
    return [v.field for v in error.value.violations]


def test_a_time_that_is_none_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"context\.time is no datetime: '2017-12-04'"):
        rank(time="2017-12-04")


def test_bad_fields_of_every_part_are_named_in_the_order_of_the_message() -> None:
    assert fields(rank, 5, [], top_k="x", temperature="y", time="soon", channel=7, filter="z") == [
        "user_id", "item_ids", "top_k", "temperature", "context.time", "context.channel", "filter"
    ]  # fmt: skip
    assert fields(rank, item_ids=5) == ["item_ids"]
    assert fields(score_request, 5, "abc", None, 7) == ["user_id", "item_ids", "context.channel"]
    wrong: dict[str, Any] = {"diversity": "x", "per_category": "y", "temperature": "z", "filter": 3}
    assert fields(recommend_request, "u", "x", None, SlateRules(**wrong), None, "") == [
        "top_k", "filter", "diversity.lambda", "limits.per_category", "exploration.temperature"
    ]  # fmt: skip
    assert fields(recommend_request, "u", None, None, SlateRules(seed=3), None, "") == ["exploration.seed"]


def test_a_likeness_may_be_a_text_of_those_there_are() -> None:
    likeness: Any
    for likeness, name in ((Likeness.ANY, "UNSPECIFIED"), ("unspecified", "UNSPECIFIED"), ("content", "CONTENT")):
        assert Kind.Name(similar_request("i", None, likeness).likeness) == f"LIKENESS_{name}"
    likeness = "colour"
    assert fields(similar_request, 7, None, likeness) == ["item_id", "likeness"]


def test_the_last_moment_there_is_is_rounded_down() -> None:
    assert rank(time=datetime.max).context.time.seconds == 253_402_300_799
    assert rank(time=datetime(5000, 1, 1, 0, 0, 0, 999_999)).context.time.seconds % 86_400 == 0


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
