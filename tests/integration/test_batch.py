"""Many rankings in one call and over a stream, from a real server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from server.app import Running, start
from server.process.settings import Limits
from shoprank import AsyncClient, Client, InvalidRequest, RankRequest, ServerError
from shoprank.results import Ranking
from shoprank.v1 import ranking_pb2 as pb
from shoprank.v1 import ranking_pb2_grpc
from tests.conftest import Shop, settings
from tests.world import ITEMS

REQUESTS = [
    pb.RankItemsRequest(user_id=f"u{n % 7}", item_ids=[f"i{(n * 13 + i) % 150}" for i in range(1 + n * 3 % 40)])
    for n in range(60)
]
REQUESTS[4] = pb.RankItemsRequest(user_id="u4", top_k=7)
REQUESTS[9] = pb.RankItemsRequest(user_id="never seen", item_ids=["i1", "nobody sells this", "é"], temperature=0.5)


@pytest.fixture
def stub(server: Running) -> Iterator[ranking_pb2_grpc.RankingServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield ranking_pb2_grpc.RankingServiceStub(channel)


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.address, timeout=10) as client:
        yield client


def alike(reply: pb.RankItemsResponse, expected: pb.RankItemsResponse) -> bool:
    """Whether all is equal, numbers up to the rounding of another batch size."""
    for name in ("probabilities", "purchase_probabilities", "logits"):
        if list(getattr(reply, name)) != pytest.approx(list(getattr(expected, name)), rel=1e-5, abs=1e-5):
            return False
    rest, other = pb.RankItemsResponse(), pb.RankItemsResponse()
    for message, source in ((rest, reply), (other, expected)):
        message.CopyFrom(source)
        for name in ("probabilities", "purchase_probabilities", "logits"):
            message.ClearField(name)  # type: ignore[arg-type]  # of three literals
    return rest == other


def test_a_batch_answers_as_one_call_each_does_in_the_same_order(stub: ranking_pb2_grpc.RankingServiceStub) -> None:
    expected = [stub.RankItems(request) for request in REQUESTS]
    replies = stub.BatchRankItems(pb.BatchRankItemsRequest(requests=REQUESTS)).responses
    assert len(replies) == len(expected)
    assert all(map(alike, replies, expected))
    assert list(replies[9].unknown_item_ids) == ["nobody sells this", "é"]
    assert replies[4].candidate_count == ITEMS


def test_a_stream_answers_as_one_call_each_does_in_the_same_order(stub: ranking_pb2_grpc.RankingServiceStub) -> None:
    expected = [stub.RankItems(request) for request in REQUESTS]
    replies = list(stub.StreamRankItems(iter(REQUESTS * 5)))
    assert len(replies) == 5 * len(expected)
    assert all(map(alike, replies, expected * 5))


def test_streams_and_calls_at_once_get_their_own_answers(trained: Shop) -> None:
    running = start(settings(trained.paths.root, trained.models, clock="snapshot", max_streams=6))
    wrong: list[str] = []
    with grpc.insecure_channel(running.address) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        expected = [stub.RankItems(request) for request in REQUESTS]

        def by_stream(first: int) -> None:
            replies = list(stub.StreamRankItems(iter((REQUESTS[first:] + REQUESTS[:first]) * 4), timeout=60))
            if len(replies) != 240 or not all(map(alike, replies, (expected[first:] + expected[:first]) * 4)):
                wrong.append(f"stream {first}")

        def by_calls(first: int) -> None:
            for request, reply in list(zip(REQUESTS, expected, strict=True))[first:]:
                if not alike(stub.RankItems(request, timeout=60), reply):
                    wrong.append(f"call {first}")

        callers = [(by_stream, n) for n in range(6)] + [(by_calls, n) for n in range(3)]
        threads = [threading.Thread(target=how, args=(first,)) for how, first in callers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    running.stop()
    assert wrong == []


def test_a_stream_is_answered_alike_without_the_gate(trained: Shop, stub: ranking_pb2_grpc.RankingServiceStub) -> None:
    expected = list(stub.StreamRankItems(iter(REQUESTS)))
    running = start(settings(trained.paths.root, trained.models, clock="snapshot", limits=Limits(gate=False)))
    with grpc.insecure_channel(running.address) as channel:
        replies = list(ranking_pb2_grpc.RankingServiceStub(channel).StreamRankItems(iter(REQUESTS), timeout=60))
    running.stop()
    assert len(replies) == len(expected)
    assert all(map(alike, replies, expected))


def test_every_bad_field_of_a_batch_is_named_with_its_request(client: Client) -> None:
    good, bad = RankRequest("u1", ["i1"]), RankRequest("", ["i1", "i1"])
    with pytest.raises(InvalidRequest) as error:
        client.rank_batch([good, bad, good, RankRequest("u1", ["i1"], top_k=2)])
    names = [violation.field for violation in error.value.violations]
    assert names == ["requests[1].user_id", "requests[1].item_ids[1]", "requests[3].top_k"]


def test_a_request_that_is_no_message_is_named(server: Running) -> None:
    with grpc.insecure_channel(server.address) as channel:
        ask: Any = channel.unary_unary("/shoprank.v1.RankingService/BatchRankItems", None, None)
        good = pb.RankItemsRequest(user_id="u1", item_ids=["i1"]).SerializeToString()
        for batch, field in (
            (b"\x0a" + bytes([len(good)]) + good + b"\x0a\x02\xff\xff", "requests[1]"),
            (b"\x0a\x7f\x00", "request"),
            (b"\x0a", "request"),
        ):
            with pytest.raises(grpc.RpcError) as error:
                ask(batch)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert str(error.value.details()).startswith(f"{field} is no shoprank.v1.")


def test_fields_of_a_newer_version_are_passed_over(server: Running) -> None:
    batch = pb.BatchRankItemsRequest(requests=REQUESTS[:2]).SerializeToString() + b"\x12\x03new"
    with grpc.insecure_channel(server.address) as channel:
        ask: Any = channel.unary_unary("/shoprank.v1.RankingService/BatchRankItems", None, None)
        assert len(pb.BatchRankItemsResponse.FromString(ask(batch)).responses) == 2


@pytest.fixture
def small(trained: Shop) -> Iterator[Running]:
    """A server that takes little at once."""
    running = start(
        settings(trained.paths.root, trained.models, max_batch=3, max_batch_candidates=200, max_streams=1, read_ahead=2)
    )
    yield running
    running.stop()


def test_a_batch_is_bounded_in_requests_and_in_candidates(small: Running) -> None:
    with Client(small.address, timeout=10) as client:
        with pytest.raises(InvalidRequest, match="requests is empty"):
            client.rank_batch([])
        with pytest.raises(InvalidRequest, match="requests has 4 entries, at most 3"):
            client.rank_batch([RankRequest("u1", ["i1"])] * 4)
        assert len(client.rank_batch([RankRequest("u1", top_k=1), RankRequest("u1", ["i1"])])) == 2
        with pytest.raises(InvalidRequest, match="requests have 300 candidates in all, at most 200"):
            client.rank_batch([RankRequest("u1", top_k=1)] * 2)


def test_streams_without_a_request_keep_no_other_out(small: Running) -> None:
    never = threading.Event()

    def nothing() -> Iterator[pb.RankItemsRequest]:
        never.wait(20)
        yield from ()

    with grpc.insecure_channel(small.address) as channel, Client(small.address, timeout=10) as client:
        idle = [ranking_pb2_grpc.RankingServiceStub(channel).StreamRankItems(nothing()) for _ in range(4)]
        time.sleep(0.3)
        assert len(list(client.rank_stream([RankRequest("u1", ["i1"])]))) == 1
        never.set()
        assert [list(call) for call in idle] == [[]] * 4


def test_a_stream_lasts_no_longer_than_its_connection(trained: Shop) -> None:
    limits = Limits(connection_age_seconds=1, connection_grace_seconds=1)
    running = start(settings(trained.paths.root, trained.models, limits=limits))
    answered: list[Any] = []

    def requests() -> Iterator[RankRequest]:
        while True:
            time.sleep(0.05)
            yield RankRequest("u1", ["i1"])

    with Client(running.address, timeout=10) as client, pytest.raises(ServerError):
        answered.extend(client.rank_stream(requests(), timeout=20))  # what came before the error stays
    assert 10 < len(answered) < 200
    running.stop()


def test_a_bad_request_ends_a_stream_once_those_before_it_are_answered(
    stub: ranking_pb2_grpc.RankingServiceStub, client: Client
) -> None:
    bad = pb.RankItemsRequest(user_id="u1", item_ids=["i1", "i1"])
    call = stub.StreamRankItems(iter([*REQUESTS[:3], bad, *REQUESTS]))
    replies: list[pb.RankItemsResponse] = []
    with pytest.raises(grpc.RpcError) as error:
        replies.extend(call)  # what came before the error stays
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details() == "requests[3].item_ids[1] repeats item_ids[0]: 'i1'"
    assert len(replies) == 3
    for wrong, field in ((RankRequest("u1", ["a", "a"]), "item_ids[1]"), (RankRequest("u1", []), "item_ids")):
        answers = client.rank_stream([RankRequest("u1", ["i1"]), wrong])
        assert len(next(answers)) == 1
        with pytest.raises(InvalidRequest) as named:
            next(answers)
        assert [v.field for v in named.value.violations] == [f"requests[1].{field}"]


def test_a_stream_whose_answers_nobody_reads_takes_no_more_requests(small: Running) -> None:
    """Back-pressure: what waits is bounded by the read-ahead and by gRPC's own windows."""
    taken = 0
    big = pb.RankItemsRequest(user_id="u1", item_ids=[f"{'x' * 200}{i}" for i in range(400)])

    def endless() -> Iterator[pb.RankItemsRequest]:
        nonlocal taken
        while taken < 5_000:
            taken += 1
            yield big

    with grpc.insecure_channel(small.address) as channel:
        call = ranking_pb2_grpc.RankingServiceStub(channel).StreamRankItems(endless())
        before = -1
        while taken != before:
            before = taken
            time.sleep(0.7)
        assert 0 < taken < 500
        call.cancel()  # type: ignore[no-untyped-call]


def test_nothing_is_ranked_for_a_caller_who_has_gone(small: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked, begun, release = [0], threading.Event(), threading.Event()
    rank_all = small.ranker.rank_all

    def slow(queries: Any, call: Any) -> Any:
        ranked[0] += len(queries)
        begun.set()
        release.wait(10)
        return rank_all(queries, call)

    monkeypatch.setattr(small.ranker, "rank_all", slow)
    with grpc.insecure_channel(small.address) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        call = stub.StreamRankItems(iter(REQUESTS))
        assert begun.wait(10)
        call.cancel()  # type: ignore[no-untyped-call]
        time.sleep(0.3)
        at_the_end = ranked[0]
        release.set()
        time.sleep(0.5)
        assert ranked[0] == at_the_end <= 3
        begun.clear()
        assert len(list(stub.StreamRankItems(iter(REQUESTS[:3]), timeout=10))) == 3  # the place is free again


def test_a_deadline_ends_a_stream(small: Running) -> None:
    with Client(small.address) as client:
        release = threading.Event()

        def waiting() -> Iterator[RankRequest]:
            yield RankRequest("u1", ["i1"])
            release.wait(10)

        answers = client.rank_stream(waiting(), timeout=1)
        assert len(next(answers)) == 1
        with pytest.raises(ServerError) as error:
            next(answers)
        release.set()
        assert error.value.code == "DEADLINE_EXCEEDED"


def test_more_streams_than_there_is_room_for_are_turned_away(small: Running) -> None:
    with Client(small.address) as client:
        release = threading.Event()

        def waiting() -> Iterator[RankRequest]:
            yield RankRequest("u1", ["i1"])
            release.wait(10)

        first = client.rank_stream(waiting())
        next(first)
        with pytest.raises(ServerError) as error:
            list(client.rank_stream([RankRequest("u1", ["i1"])]))
        assert error.value.code == "RESOURCE_EXHAUSTED"
        release.set()
        assert list(first) == []


def test_what_the_requests_raise_is_raised_where_answers_are_read(client: Client) -> None:
    def broken() -> Iterator[RankRequest]:
        yield RankRequest("u1", ["i1"])
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        list(client.rank_stream(broken()))


def test_what_the_requests_raise_is_raised_by_the_asyncio_client_too(server: Running) -> None:
    async def broken() -> AsyncIterator[RankRequest]:
        yield RankRequest("u1", ["i1"])
        await asyncio.sleep(0.1)
        raise KeyError("lost")

    async def ask() -> None:
        async with AsyncClient(server.address, timeout=10) as asking, asyncio.TaskGroup() as group:
            task = group.create_task(_all(asking.rank_stream(broken())))
        await task

    with pytest.raises(ExceptionGroup) as error:
        asyncio.run(ask())
    assert error.group_contains(KeyError, match="lost")


def test_a_task_that_is_cancelled_while_it_reads_a_stream_ends_as_cancelled(server: Running) -> None:
    async def endless() -> AsyncIterator[RankRequest]:
        yield RankRequest("u1", ["i1"])
        await asyncio.sleep(60)

    async def ask() -> bool:
        async with AsyncClient(server.address, timeout=10) as asking:
            task = asyncio.create_task(_all(asking.rank_stream(endless())))
            await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

    assert asyncio.run(ask())


async def _all(answers: AsyncIterator[Ranking]) -> list[Ranking]:
    return [ranking async for ranking in answers]


def test_the_asyncio_client_gives_the_same_answers(client: Client, server: Running) -> None:
    requests = [RankRequest(f"u{n}", [f"i{i}" for i in range(n + 1)]) for n in range(20)]

    async def ask() -> tuple[Any, Any]:
        async with AsyncClient(server.address, timeout=10) as asking:
            with pytest.raises(InvalidRequest, match=r"requests\[1\]"):
                await asking.rank_batch([requests[0], RankRequest("", ["i1"])])
            streamed = [ranking async for ranking in asking.rank_stream(requests)]
            with pytest.raises(InvalidRequest, match=r"requests\[1\]"):
                [r async for r in asking.rank_stream([requests[0], RankRequest("u", ["a", "a"])])]
            return await asking.rank_batch(requests), streamed

    batch, streamed = asyncio.run(ask())
    assert batch == client.rank_batch(requests)
    assert [[i.item_id for i in ranking] for ranking in streamed] == [[i.item_id for i in ranking] for ranking in batch]
    assert [r.item_id for r in batch[3]] == [r.item_id for r in client.rank("u3", ["i0", "i1", "i2", "i3"])]
