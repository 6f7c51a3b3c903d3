"""The gRPC services: parse, one call of the core, reply."""

from __future__ import annotations

import grpc

from server import parse, reply
from server.call import current
from server.catalogue import Catalogue
from server.ranker import Ranker
from shoprank.v1 import catalog_pb2, catalog_pb2_grpc


class Ranking:
    """`shoprank.v1.RankingService`, on bytes."""

    raw = frozenset({"ScoreItems", "RankItems"})

    def __init__(self, ranker: Ranker, max_candidates: int) -> None:
        self._ranker = ranker
        self._max_candidates = max_candidates

    def ScoreItems(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        call = current()
        query = parse.score_query(request, self._max_candidates, self._ranker.items.shelf)
        call.mark("parse")
        return reply.scored(self._ranker.score(query, call))

    def RankItems(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        call = current()
        query = parse.rank_query(request, self._max_candidates, self._ranker.items.shelf)
        call.mark("parse")
        return reply.ranked(self._ranker.rank(query, call))


class Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    """`shoprank.v1.CatalogService`."""

    def __init__(self, catalogue: Catalogue, max_items: int) -> None:
        self._catalogue = catalogue
        self._max_items = max_items

    def GetItems(
        self, request: catalog_pb2.GetItemsRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.GetItemsResponse:
        item_ids = parse.items_query(request, self._max_items)
        found = [(item_id, self._catalogue.describe(item_id)) for item_id in item_ids]
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
            unknown_item_ids=[item_id for item_id, item in found if not item],
        )
