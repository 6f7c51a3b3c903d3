"""The gRPC services: parse, one call of the core, reply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import perf_counter

import grpc

from server import many, parse, reply
from server.call import Call, current
from server.catalogue import Catalogue
from server.many import Bounds
from server.parse import RankQuery
from server.process.stream import Stream
from server.process.together import apart, together
from server.ranker import Ranker
from server.ranker import Ranking as Ranked
from server.security.redaction import Answering, all_answered, answered_here
from server.stream import ReadAhead, taken
from shoprank.errors import InvalidRequest, Overloaded
from shoprank.v1 import catalog_pb2, catalog_pb2_grpc

STREAM_RETRY_SECONDS = 1.0
BRIEF = 1_000
"""Candidates that are ranked in about a millisecond."""


class Ranking:
    """`shoprank.v1.RankingService`, on bytes."""

    raw = frozenset({"ScoreItems", "RankItems", "BatchRankItems", "StreamRankItems"})

    def __init__(self, ranker: Ranker, max_candidates: int, bounds: Bounds) -> None:
        self._ranker = ranker
        self._max_candidates = max_candidates
        self._bounds = bounds
        self._streams = threading.BoundedSemaphore(bounds.streams)

    def ScoreItems(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        call = current()
        query = parse.score_query(request, self._max_candidates, self._ranker.items.shelf)
        call.mark("parse")
        return reply.scored(self._ranker.score(query, call))

    def RankItems(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        call = current()
        query = parse.rank_query(request, self._max_candidates, self._ranker.items.shelf, self._ranker.known)
        call.mark("parse")
        asked = Asked(query, (query,), call, answered_here())
        return reply.ranked((together if brief(query) else apart)(self._rank, asked)[0])

    def _rank(self, asked: Sequence[Asked]) -> Sequence[Sequence[Ranked]]:
        """Rankings of items, for calls that are answered side by side."""
        if len(asked) == 1:
            one = asked[0]
            if one.answering is answered_here():
                return [self._rank_one(one)]
            with all_answered([one.answering]):
                return [self._rank_one(one)]
        ours = Call("")
        with all_answered([one.answering for one in asked]):
            rankings = iter(self._ranker.rank_all([query for one in asked for query in one.queries], ours))
        for one in asked:
            one.call.add(ours)
        return [list(islice(rankings, len(one.queries))) for one in asked]

    def _rank_one(self, one: Asked) -> Sequence[Ranked]:
        if one.query is not None:
            return [self._ranker.rank(one.query, one.call)]
        return self._ranker.rank_all(one.queries, one.call)

    def BatchRankItems(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        call = current()
        queries = many.queries_of(many.requests_of(request), self._max_candidates, self._bounds, self._ranker)
        if call.client is not None:
            call.client.owe(len(queries) - 1)
        call.mark("parse")
        rank = partial(self._ranker.rank_all, call=call)
        return many.joined(list(many.ranked(self._ranker, queries, context.is_active, rank)))

    def StreamRankItems(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes | None]:
        with ExitStack() as place:
            if isinstance(context, Stream):
                yield from self._answers(self._admitted(taken(requests), place), context)
            else:
                self._admit(place)  # it takes a thread from the beginning
                yield from self._read_by_a_thread(requests, context)

    def _admitted(self, waiting: Iterator[list[bytes]], place: ExitStack) -> Iterator[list[bytes]]:
        """The same, admitted with the first request: a stream without any keeps no other out."""
        admitted = False
        for some in waiting:
            if some and not admitted:
                self._admit(place)
                admitted = True
            yield some

    def _admit(self, place: ExitStack) -> None:
        if not self._streams.acquire(blocking=False):
            raise Overloaded(f"{self._bounds.streams} streams are answered now, no more at once", STREAM_RETRY_SECONDS)
        place.callback(self._streams.release)

    def _read_by_a_thread(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes | None]:
        ahead = ReadAhead(requests, self._bounds.read_ahead)
        if not context.add_callback(ahead.close):
            ahead.close()  # the caller has gone already
        try:
            yield from self._answers(ahead.taken(), context)
        finally:
            ahead.close()

    def _answers(self, waiting: Iterator[list[bytes]], context: grpc.ServicerContext) -> Iterator[bytes | None]:
        """Answers in the order of the requests; those that were waiting are ranked together. None where none were."""
        call, place = current(), 0

        def rank(queries: list[RankQuery]) -> Sequence[Ranked]:
            asked = Asked(None, queries, call, answered_here())
            return (together if all(map(brief, queries)) else apart)(self._rank, asked)

        for some in waiting:
            if not some:
                yield None
                call.marked = perf_counter()
                continue
            if call.client is not None:
                if place:
                    call.client.take(len(some))
                else:
                    call.client.owe(len(some) - 1)  # the first counted as the call
            queries, wrong = [], None
            for request in some:
                try:
                    queries.append(many.query_of(request, place, self._max_candidates, self._ranker))
                except InvalidRequest as error:
                    wrong = error
                    break
                place += 1
            call.mark("parse")
            yield from many.ranked(self._ranker, queries, context.is_active, rank)
            if wrong is not None:
                raise wrong


@dataclass(slots=True)
class Asked:
    """What a call that is answered beside others wants ranked, by one run of the model.

    query: that of a call for one ranking, None of a stream. answering: what is noted of the call for the log.
    """

    query: RankQuery | None
    queries: Sequence[RankQuery]
    call: Call
    answering: Answering | None


def brief(query: RankQuery) -> bool:
    """Whether its candidates are ranked in about a millisecond."""
    return 0 < len(query.items) <= BRIEF


class Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    """`shoprank.v1.CatalogService`. unknown: told how many ids of a call were of no item."""

    def __init__(self, catalogue: Catalogue, max_items: int, unknown: Callable[[int], None]) -> None:
        self._catalogue = catalogue
        self._max_items = max_items
        self._unknown = unknown

    def GetItems(
        self, request: catalog_pb2.GetItemsRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.GetItemsResponse:
        item_ids = parse.items_query(request, self._max_items)
        found = [(item_id, self._catalogue.describe(item_id)) for item_id in item_ids]
        unknown = [item_id for item_id, item in found if not item]
        if unknown:
            self._unknown(len(unknown))
        return catalog_pb2.GetItemsResponse(
            items=[
                catalog_pb2.Item(
                    item_id=item.item_id,
                    name=item.name,
                    department=item.department,
                    category=item.category,
                    subcategory=item.subcategory,
                    brand=item.brand,
                )
                for _, item in found
                if item
            ],
            unknown_item_ids=unknown,
        )
