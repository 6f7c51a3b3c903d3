"""Requests are refused whole, with every bad field named at once."""

from __future__ import annotations

import math

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from server.parse import CATALOGUE_TOP_K, checked_rank, checked_score, items_query
from shoprank.errors import InvalidRequest
from shoprank.v1.catalog_pb2 import GetItemsRequest
from shoprank.v1.ranking_pb2 import RankItemsRequest, RequestContext, ScoreItemsRequest

LIMIT = 5_000


def fields(error: pytest.ExceptionInfo[InvalidRequest]) -> list[str]:
    return [v.field for v in error.value.violations]


def test_every_bad_field_is_named_at_once() -> None:
    request = RankItemsRequest(
        user_id="",
        item_ids=["a", "", "a"],
        top_k=9,
        temperature=math.nan,
        context=RequestContext(channel="x" * 65, time=Timestamp(seconds=-1)),
    )
    with pytest.raises(InvalidRequest) as error:
        checked_rank(request, LIMIT)
    assert fields(error) == [
        "user_id", "item_ids[1]", "item_ids[2]", "top_k", "temperature", "context.time", "context.channel"
    ]  # fmt: skip
    assert "item_ids[2] repeats item_ids[0]: 'a'" in str(error.value)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_temperature_is_finite_and_above_zero(temperature: float) -> None:
    with pytest.raises(InvalidRequest) as error:
        checked_rank(RankItemsRequest(user_id="u", item_ids=["a"], temperature=temperature), LIMIT)
    assert fields(error) == ["temperature"]


@pytest.mark.parametrize(("candidates", "top_k"), [(3, 0), (3, 4), (3, -1), (0, 0), (0, LIMIT + 1)])
def test_top_k_lies_within_the_candidates(candidates: int, top_k: int) -> None:
    with pytest.raises(InvalidRequest) as error:
        checked_rank(RankItemsRequest(user_id="u", item_ids=map(str, range(candidates)), top_k=top_k), LIMIT)
    assert fields(error) == ["top_k"]


@pytest.mark.parametrize("count", [1, LIMIT])
def test_up_to_the_limit_of_candidates_is_taken(count: int) -> None:
    assert len(checked_score(ScoreItemsRequest(user_id="u", item_ids=map(str, range(count))), LIMIT).items) == count


def test_too_many_candidates_are_refused_with_their_number() -> None:
    with pytest.raises(InvalidRequest, match=r"item_ids has 5001 entries, at most 5000"):
        checked_score(ScoreItemsRequest(user_id="u", item_ids=map(str, range(LIMIT + 1))), LIMIT)


def test_scoring_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="item_ids is empty"):
        checked_score(ScoreItemsRequest(user_id="u"), LIMIT)


def test_an_id_of_more_than_256_bytes_is_refused_though_it_has_fewer_characters() -> None:
    with pytest.raises(InvalidRequest, match=r"item_ids\[0\] has 258 bytes"):
        checked_score(ScoreItemsRequest(user_id="u", item_ids=["é" * 129]), LIMIT)
    assert checked_score(ScoreItemsRequest(user_id="é" * 128, item_ids=["é" * 128]), LIMIT)


def test_no_candidates_means_the_catalogue_and_its_default_top_k() -> None:
    query = checked_rank(RankItemsRequest(user_id="u"), LIMIT)
    assert (query.items.ids, query.top_k, query.temperature, query.time) == ([], CATALOGUE_TOP_K, 1.0, None)


@pytest.mark.parametrize(
    "time", [Timestamp(seconds=253402300800), Timestamp(seconds=0, nanos=-1), Timestamp(seconds=-(10**15))]
)
def test_a_time_outside_1970_to_9999_is_refused(time: Timestamp) -> None:
    with pytest.raises(InvalidRequest, match=r"context\.time"):
        checked_score(ScoreItemsRequest(user_id="u", item_ids=["a"], context=RequestContext(time=time)), LIMIT)


def test_the_last_second_of_9999_is_a_time() -> None:
    context = RequestContext(time=Timestamp(seconds=253402300799))
    assert checked_score(ScoreItemsRequest(user_id="u", item_ids=["a"], context=context), LIMIT).time == 253402300799


def test_items_may_repeat_where_nothing_is_ranked() -> None:
    assert items_query(GetItemsRequest(item_ids=["a", "a"]), LIMIT) == ("a", "a")
