"""The calls of RecommendationService, of both clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import grpc

from shoprank import slates
from shoprank.connection import Timeouts
from shoprank.requests import DEFAULT_TIMEOUT, typed
from shoprank.v1 import recommendation_pb2_grpc


class Recommending:
    """What `Client` asks of RecommendationService."""

    _timeouts: Timeouts
    _recommendations: Iterator[recommendation_pb2_grpc.RecommendationServiceStub]

    def recommend(
        self,
        user_id: str,
        *,
        top_k: int | None = None,
        candidates: int | None = None,
        rules: slates.SlateRules = slates.NO_RULES,
        time: datetime | None = None,
        channel: str = "",
        traits: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> slates.Slate:
        """A slate for a user, of 20 items of 500 candidates where not said, under the rules.

        traits: what is known of a user whom the store does not know, such as {"age": "35-44"}.
        """
        request = slates.recommend_request(user_id, top_k, candidates, rules, time, channel, traits)
        limit = self._timeouts.of(timeout, DEFAULT_TIMEOUT)
        try:
            return slates.slate(next(self._recommendations).RecommendItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    def similar(
        self,
        item_id: str,
        *,
        top_k: int | None = None,
        likeness: slates.Likeness = slates.Likeness.ANY,
        timeout: float | None = None,
    ) -> tuple[slates.SimilarItem, ...]:
        """Items like an item, most alike first; 10 where not said."""
        request = slates.similar_request(item_id, top_k, likeness)
        limit = self._timeouts.of(timeout, DEFAULT_TIMEOUT)
        try:
            return slates.similar(next(self._recommendations).SimilarItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error


class AsyncRecommending:
    """What `AsyncClient` asks of RecommendationService."""

    _timeouts: Timeouts
    _recommendations: Iterator[recommendation_pb2_grpc.RecommendationServiceAsyncStub]

    async def recommend(
        self,
        user_id: str,
        *,
        top_k: int | None = None,
        candidates: int | None = None,
        rules: slates.SlateRules = slates.NO_RULES,
        time: datetime | None = None,
        channel: str = "",
        traits: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> slates.Slate:
        """As `Client.recommend`."""
        request = slates.recommend_request(user_id, top_k, candidates, rules, time, channel, traits)
        limit = self._timeouts.of(timeout, DEFAULT_TIMEOUT)
        try:
            return slates.slate(await next(self._recommendations).RecommendItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    async def similar(
        self,
        item_id: str,
        *,
        top_k: int | None = None,
        likeness: slates.Likeness = slates.Likeness.ANY,
        timeout: float | None = None,
    ) -> tuple[slates.SimilarItem, ...]:
        """As `Client.similar`."""
        request = slates.similar_request(item_id, top_k, likeness)
        limit = self._timeouts.of(timeout, DEFAULT_TIMEOUT)
        try:
            return slates.similar(await next(self._recommendations).SimilarItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error
