"""The gRPC services: parse, one call of the core, reply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import grpc

from server import many, parse, reply
from server.call import Call, current
from server.catalogue import Catalogue
from server.many import Bounds
from server.parse import RankQuery
from server.process.together import apart, together
from server.ranker import Ranker
from server.ranker import Ranking as Ranked
from server.security.redaction import Answering, all_answered, answered_here
from server.stream import ReadAhead
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
        brief = 0 < len(query.items) <= BRIEF
        return reply.ranked((together if brief else apart)(self._rank, (query, call, answered_here())))

    def _rank(self, asked: Sequence[tuple[RankQuery, Call, Answering | None]]) -> Sequence[Ranked]:
        """Rankings of items, for calls that are answered side by side."""
        if len(asked) == 1:
            query, call, _ = asked[0]
            return [self._ranker.rank(query, call)]
        ours = Call("")
        with all_answered([answering for _, _, answering in asked]):
            rankings = self._ranker.rank_all([query for query, _, _ in asked], ours)
        for _, call, _ in asked:
            call.phases.update(ours.phases)
            call.marked = ours.marked
        return rankings

    def BatchRankItems(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        call = current()
        queries = many.queries_of(many.requests_of(request), self._max_candidates, self._bounds, self._ranker)
        call.mark("parse")
        return many.joined(list(many.ranked(self._ranker, queries, context.is_active, call)))

    def StreamRankItems(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        if not self._streams.acquire(blocking=False):
            raise Overloaded(f"{self._bounds.streams} streams are answered now, no more at once", STREAM_RETRY_SECONDS)
        ahead = ReadAhead(requests, self._bounds.read_ahead)
        if not context.add_callback(ahead.close):
            ahead.close()  # the caller has gone already
        try:
            yield from self._answers(ahead, context)
        finally:
            ahead.close()
            self._streams.release()

    def _answers(self, ahead: ReadAhead, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers in the order of the requests; those that were waiting are ranked together."""
        call, place = current(), 0
        for taken in ahead.taken():
            queries, wrong = [], None
            for request in taken:
                try:
                    queries.append(many.query_of(request, place, self._max_candidates, self._ranker))
                except InvalidRequest as error:
                    wrong = error
                    break
                place += 1
            call.mark("parse")
            yield from many.ranked(self._ranker, queries, context.is_active, call)
            if wrong is not None:
                raise wrong


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
