"""What the compiled parser takes apart protobuf would have read alike; what it will not take it leaves to protobuf."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import schema
from feature_repo.transforms import ItemRows
from server import wire
from server.columns import softmax_of
from server.features import StoredItems
from server.items import Shelf, Wanted
from server.parse import RankQuery, checked_rank, rank_query
from server.scoring import softmax
from shoprank.errors import FieldViolation, InvalidRequest
from shoprank.v1.ranking_pb2 import RankItemsRequest, RankItemsResponse, RequestContext

LIMIT = 5_000


def stored(ids: list[str]) -> StoredItems:
    """Rows of items, told apart by their first number."""
    n = len(ids)
    rows = ItemRows(
        numbers=np.tile(np.arange(n, dtype=np.float32)[:, None], (1, len(schema.ITEM_NUMBERS))),
        times=np.zeros((n, len(schema.ITEM_TIMES)), np.int64),
        keys=np.zeros((n, len(schema.ITEM_KEYS)), np.int64),
    )
    return StoredItems(ids, rows, np.arange(n), [])


def shelf_of(ids: list[str], capacity: int = 64) -> Shelf:
    shelf = Shelf.empty(capacity, 1)
    assert shelf.add(stored(ids))
    return shelf


texts = st.text(min_size=1, max_size=40)
plain = st.text(st.characters(min_codepoint=1, max_codepoint=127), min_size=1, max_size=200)


@settings(max_examples=300, deadline=None)
@given(
    user=texts,
    ids=st.lists(st.one_of(plain, texts), max_size=30),
    top_k=st.one_of(st.none(), st.integers(-2, 40)),
    temperature=st.one_of(st.none(), st.floats(width=32)),
    channel=st.text(max_size=70),
    seconds=st.one_of(st.none(), st.integers(-10, 2**40)),
)
def test_a_request_means_the_same_by_either_parser(
    user: str, ids: list[str], top_k: int | None, temperature: float | None, channel: str, seconds: int | None
) -> None:
    request = RankItemsRequest(user_id=user, item_ids=ids, top_k=top_k, temperature=temperature)
    if seconds is not None or channel:
        time = None if seconds is None else Timestamp(seconds=seconds)
        request.context.CopyFrom(RequestContext(channel=channel, time=time))
    expected = outcome(lambda: checked_rank(request, LIMIT))
    found = outcome(lambda: rank_query(request.SerializeToString(), LIMIT, shelf_of(["a"])))
    if not isinstance(expected, RankQuery) or not isinstance(found, RankQuery):
        assert found == expected
        return
    assert (found.user_id, found.items.ids, found.top_k) == (expected.user_id, expected.items.ids, expected.top_k)
    assert (found.temperature, found.time) == (expected.temperature, expected.time)


def outcome(parse: Callable[[], RankQuery]) -> RankQuery | tuple[FieldViolation, ...]:
    """The query, or what is wrong with the request."""
    try:
        return parse()
    except InvalidRequest as error:
        return error.violations


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_are_refused_and_never_read_beyond(noise: bytes) -> None:
    hold_against_protobuf(noise)


def hold_against_protobuf(noise: bytes) -> None:
    """Raise AssertionError where the bytes are taken for another request than protobuf takes them for."""
    try:
        expected = RankItemsRequest.FromString(noise)
    except DecodeError:
        expected = None
    try:
        query = rank_query(noise, LIMIT, shelf_of(["a"]))
    except InvalidRequest:
        return
    assert expected is not None
    assert query.items.ids == list(expected.item_ids)


def test_a_request_cut_anywhere_is_read_as_protobuf_reads_it() -> None:
    whole = RankItemsRequest(user_id="u", item_ids=["a", "bb", "x" * 130], top_k=2).SerializeToString()
    for size in range(len(whole)):
        hold_against_protobuf(whole[:size])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=60), unique=True, max_size=40), st.lists(texts, max_size=20))
def test_the_index_finds_what_was_put_in_and_nothing_else(ids: list[str], others: list[str]) -> None:
    shelf = shelf_of(ids, capacity=256)
    found = Wanted.of([*ids, *others]).on(shelf).tolist()
    assert found[: len(ids)] == list(range(len(ids)))
    assert found[len(ids) :] == [ids.index(o) if o in ids else wire.NOWHERE for o in others]


def test_an_item_put_in_again_hides_its_earlier_row_and_one_taken_out_is_gone() -> None:
    shelf = shelf_of(["a", "b", "c"])
    assert shelf.add(stored(["b"]))
    assert Wanted.of(["a", "b", "c"]).on(shelf).tolist() == [0, 3, 2]
    shelf.forget(Wanted.of(["b", "nowhere"]))
    assert Wanted.of(["a", "b", "c"]).on(shelf).tolist() == [0, wire.NOWHERE, 2]
    assert shelf.add(stored(["b"]))
    assert Wanted.of(["b"]).on(shelf).tolist() == [4]


def test_a_shelf_takes_no_more_than_it_has_room_for() -> None:
    shelf = shelf_of(["a", "b"], capacity=3)
    assert not shelf.add(stored(["c", "d"]))
    assert shelf.add(stored(["c"]))


@pytest.mark.parametrize("size", [1, 127, 128, 256])
def test_entries_of_every_length_are_read_back_by_protobuf(size: int) -> None:
    ids = ["x" * size, "y"]
    shelf = shelf_of(ids)
    positions = Wanted.of(ids).on(shelf)
    written = wire.entries_of(np.array([1, 0]), positions, shelf.facts, shelf.entries).tobytes()
    assert list(RankItemsResponse.FromString(written).item_ids) == ["y", "x" * size]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=60),
    st.floats(2.0**-20, 2.0**20, width=32),
    st.randoms(use_true_random=False),
)
def test_the_compiled_softmax_is_the_plain_one(logits: list[float], temperature: float, random: object) -> None:
    values = np.array(logits, np.float32)
    chosen = np.argsort(-values, kind="stable")
    found = softmax_of(values, chosen, temperature)
    np.testing.assert_allclose(found, softmax(values, temperature)[chosen], rtol=1e-6, atol=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-4)
