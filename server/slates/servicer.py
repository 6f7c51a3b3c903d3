"""`shoprank.v1.RecommendationService`: parse, one call of the core, reply."""

from __future__ import annotations

import grpc

from server.call import current
from server.slates import parse, reply
from server.slates.recommender import Recommender
from shoprank.v1 import recommendation_pb2 as pb


class Recommendations:
    """Slates for users, and items like an item."""

    def __init__(self, recommender: Recommender, max_candidates: int) -> None:
        self._recommender = recommender
        self._max_candidates = max_candidates

    def RecommendItems(self, request: pb.RecommendItemsRequest, context: grpc.ServicerContext) -> bytes:
        call = current()
        query = parse.recommend_query(request, self._max_candidates, self._recommender.known)
        call.mark("parse")
        return reply.recommended(self._recommender.recommend(query, call))

    def SimilarItems(self, request: pb.SimilarItemsRequest, context: grpc.ServicerContext) -> pb.SimilarItemsResponse:
        call = current()
        query = parse.similar_query(request)
        call.mark("parse")
        found = self._recommender.similar(query)
        call.mark("retrieval")
        return reply.similar(found)
