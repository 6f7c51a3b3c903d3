"""Clients of the server, for threads and for asyncio: one connection, deadlines, retries, typed results."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from itertools import cycle
from os import PathLike
from types import TracebackType
from typing import Self

import grpc

from shoprank import results, streams
from shoprank.connection import Connection, Timeouts, Token, checked_seconds
from shoprank.errors import UserError
from shoprank.recommending import AsyncRecommending, Recommending
from shoprank.requests import (
    CATALOGUE_TIMEOUT,
    DEFAULT_TIMEOUT,
    ItemFilter,
    RankRequest,
    batch_request,
    items_request,
    rank_request,
    score_request,
    typed,
    usual_timeout,
)
from shoprank.v1 import catalog_pb2_grpc, ranking_pb2_grpc, recommendation_pb2_grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": f"shoprank.v1.{name}"}
                for name in ("RankingService", "RecommendationService", "CatalogService")
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 200, "tokenRatio": 0.1},
}
"""Every method only reads, so a call that found no server may be tried again. CANCELLED is what a server's core says of
a call that it had not begun when it stopped. Retries are throttled once 100 attempts more have failed than a tenth of
those answered: less would be spent by a dozen threads in the tenth of a second that a new connection may take."""

OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
    # Sooner than the last attempt of a call: a connection may be reset as a worker goes, while others listen.
    ("grpc.initial_reconnect_backoff_ms", 100),
)


class Client(Recommending):
    """A client for threads; share one among all of them.

    address: host:port, or any gRPC target such as dns:///shoprank:50051. timeout: seconds a call may take, unless it
    says otherwise; where it is None a second, and ten for batches and the whole catalogue. root_certificate: PEM file
    of the authority of the server's certificate; in the clear without it. certificate, key: PEM files to show it.
    token: a key or a bearer token, or what gives one. credentials: gRPC's own, instead of the files. connections: how
    many to open, used in turn; one connection is answered by one worker process of a server, so a caller that is alone
    needs several to reach them all. Calls raise InvalidRequest naming every bad field, and ServerError with the gRPC
    code for everything else; UserError is raised where the files, the token or a timeout cannot be used.

    >>> with Client("127.0.0.1:50051") as client:        # doctest: +SKIP
    ...     for item in client.rank("1", top_k=3):
    ...         print(item.rank, item.item_id, item.purchase_probability)
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        timeout: float | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        *,
        root_certificate: str | PathLike[str] | None = None,
        certificate: str | PathLike[str] | None = None,
        key: str | PathLike[str] | None = None,
        token: Token | None = None,
        connections: int = 1,
    ) -> None:
        self._timeouts = Timeouts(timeout)
        connection = Connection(address, root_certificate, certificate, key, token, credentials)
        self._channels = [connection.channel(OPTIONS) for _ in range(counted(connections))]
        calls = [connection.authorized(channel) for channel in self._channels]
        self._rankings = cycle([ranking_pb2_grpc.RankingServiceStub(channel) for channel in calls])
        self._recommendations = cycle([recommendation_pb2_grpc.RecommendationServiceStub(channel) for channel in calls])
        self._catalogs = cycle([catalog_pb2_grpc.CatalogServiceStub(channel) for channel in calls])

    def score(
        self,
        user_id: str,
        item_ids: Iterable[str],
        *,
        time: datetime | None = None,
        channel: str = "",
        timeout: float | None = None,
    ) -> results.Scores:
        """Purchase probability of each item; `time` (aware, or naive UTC) is the server's clock where it is None."""
        request = score_request(user_id, item_ids, time, channel)
        limit = self._timeouts.of(timeout, DEFAULT_TIMEOUT)
        try:
            return results.scores(next(self._rankings).ScoreItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    def rank(
        self,
        user_id: str,
        item_ids: Iterable[str] | None = None,
        *,
        top_k: int | None = None,
        temperature: float | None = None,
        time: datetime | None = None,
        channel: str = "",
        filter: ItemFilter | None = None,
        timeout: float | None = None,
    ) -> results.Ranking:
        """The items, best first; the best of the whole catalogue where `item_ids` is None. An empty list is refused."""
        request = rank_request(user_id, item_ids, top_k, temperature, time, channel, filter)
        limit = self._timeouts.of(timeout, usual_timeout(request))
        try:
            return results.ranking(next(self._rankings).RankItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    def rank_batch(self, requests: Iterable[RankRequest], *, timeout: float | None = None) -> list[results.Ranking]:
        """Rankings for many users in one call, in the order of the requests."""
        limit = self._timeouts.of(timeout, CATALOGUE_TIMEOUT)
        try:
            reply = next(self._rankings).BatchRankItems(batch_request(requests), timeout=limit)
        except grpc.RpcError as error:
            raise typed(error) from error
        return [results.ranking(one) for one in reply.responses]

    def rank_stream(
        self, requests: Iterable[RankRequest], *, timeout: float | None = None
    ) -> Iterator[results.Ranking]:
        """A ranking for each request, in their order, as they come; requests are taken as the server keeps up.

        timeout: seconds the whole stream may take; None for as long as the server lets its connection live, ten and a
        half minutes unless set there, after which ServerError is raised. A bad request ends it with InvalidRequest,
        once those before it are answered. Closing the iterator ends the call.
        """
        limit = None if timeout is None else checked_seconds(timeout)
        return streams.ranked(next(self._rankings), requests, limit)

    def items(self, item_ids: Iterable[str], *, timeout: float | None = None) -> dict[str, results.Item]:
        """What the items are, by id; ids the catalogue does not know are left out."""
        request = items_request(item_ids)
        limit = self._timeouts.of(timeout, DEFAULT_TIMEOUT)
        try:
            return results.items(next(self._catalogs).GetItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(AsyncRecommending):
    """`Client` for asyncio; make it inside the running loop."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        timeout: float | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        *,
        root_certificate: str | PathLike[str] | None = None,
        certificate: str | PathLike[str] | None = None,
        key: str | PathLike[str] | None = None,
        token: Token | None = None,
        connections: int = 1,
    ) -> None:
        self._timeouts = Timeouts(timeout)
        connection = Connection(address, root_certificate, certificate, key, token, credentials)
        self._channels = [connection.aio_channel(OPTIONS) for _ in range(counted(connections))]
        calls = [connection.authorized(channel) for channel in self._channels]
        self._rankings: Iterator[ranking_pb2_grpc.RankingServiceAsyncStub] = cycle(
            [ranking_pb2_grpc.RankingServiceStub(channel) for channel in calls]
        )
        self._recommendations: Iterator[recommendation_pb2_grpc.RecommendationServiceAsyncStub] = cycle(
            [recommendation_pb2_grpc.RecommendationServiceStub(channel) for channel in calls]
        )
        self._catalogs: Iterator[catalog_pb2_grpc.CatalogServiceAsyncStub] = cycle(
            [catalog_pb2_grpc.CatalogServiceStub(channel) for channel in calls]
        )

    async def score(
        self,
        user_id: str,
        item_ids: Iterable[str],
        *,
        time: datetime | None = None,
        channel: str = "",
        timeout: float | None = None,
    ) -> results.Scores:
        """As `Client.score`."""
        request = score_request(user_id, item_ids, time, channel)
        limit = self._timeouts.of(timeout, DEFAULT_TIMEOUT)
        try:
            return results.scores(await next(self._rankings).ScoreItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    async def rank(
        self,
        user_id: str,
        item_ids: Iterable[str] | None = None,
        *,
        top_k: int | None = None,
        temperature: float | None = None,
        time: datetime | None = None,
        channel: str = "",
        filter: ItemFilter | None = None,
        timeout: float | None = None,
    ) -> results.Ranking:
        """As `Client.rank`."""
        request = rank_request(user_id, item_ids, top_k, temperature, time, channel, filter)
        limit = self._timeouts.of(timeout, usual_timeout(request))
        try:
            return results.ranking(await next(self._rankings).RankItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    async def rank_batch(
        self, requests: Iterable[RankRequest], *, timeout: float | None = None
    ) -> list[results.Ranking]:
        """As `Client.rank_batch`."""
        limit = self._timeouts.of(timeout, CATALOGUE_TIMEOUT)
        try:
            reply = await next(self._rankings).BatchRankItems(batch_request(requests), timeout=limit)
        except grpc.RpcError as error:
            raise typed(error) from error
        return [results.ranking(one) for one in reply.responses]

    def rank_stream(
        self, requests: AsyncIterator[RankRequest] | Iterable[RankRequest], *, timeout: float | None = None
    ) -> AsyncIterator[results.Ranking]:
        """As `Client.rank_stream`; requests may come from an asynchronous iterator."""
        limit = None if timeout is None else checked_seconds(timeout)
        return streams.ranked_async(next(self._rankings), requests, limit)

    async def items(self, item_ids: Iterable[str], *, timeout: float | None = None) -> dict[str, results.Item]:
        """As `Client.items`."""
        request = items_request(item_ids)
        limit = self._timeouts.of(timeout, DEFAULT_TIMEOUT)
        try:
            return results.items(await next(self._catalogs).GetItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close(grace=None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def counted(connections: int) -> int:
    """The number of connections. Raises UserError where it is below 1."""
    if connections < 1:
        raise UserError(f"connections: at least 1 is needed, not {connections}")
    return connections
