"""Clients of the server, for threads and for asyncio: one connection, deadlines, retries, typed results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import cycle
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from shoprank import results
from shoprank.connection import Connection, Token
from shoprank.errors import FieldViolation, InvalidRequest, ServerError, UserError
from shoprank.v1 import catalog_pb2, catalog_pb2_grpc, ranking_pb2, ranking_pb2_grpc, status_pb2

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 1.0
CATALOGUE_TIMEOUT = 10.0
"""Seconds a ranking of the whole catalogue may take by default."""

SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "shoprank.v1.RankingService"}, {"service": "shoprank.v1.CatalogService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}
"""Every method only reads, so a call that found no server may be tried again; throttled when many fail. CANCELLED is
what a server's core says of a call that it had not begun when it stopped."""

OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
)


class Client:
    """A client for threads; share one among all of them.

    address: host:port, or any gRPC target such as dns:///shoprank:50051. timeout: seconds a call may take, unless it
    says otherwise. root_certificate: PEM file of the authority of the server's certificate; in the clear without it.
    certificate, key: PEM files to show the server. token: a key or a bearer token, or what gives one. credentials:
    gRPC's own, instead of the files. connections: how many to open, used in turn; one connection is answered by one
    worker process of a server, so a caller that is alone needs several to reach them all. Calls raise InvalidRequest
    naming every bad field, and ServerError with the gRPC code for everything else; UserError is raised where the files
    or the token cannot be used.

    >>> with Client("127.0.0.1:50051") as client:        # doctest: +SKIP
    ...     for item in client.rank("1", top_k=3):
    ...         print(item.rank, item.item_id, item.purchase_probability)
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        *,
        root_certificate: str | PathLike[str] | None = None,
        certificate: str | PathLike[str] | None = None,
        key: str | PathLike[str] | None = None,
        token: Token | None = None,
        connections: int = 1,
    ) -> None:
        self._timeout = timeout
        connection = Connection(address, root_certificate, certificate, key, token, credentials)
        self._channels = [connection.channel(OPTIONS) for _ in range(counted(connections))]
        calls = [connection.authorized(channel) for channel in self._channels]
        self._rankings = cycle([ranking_pb2_grpc.RankingServiceStub(channel) for channel in calls])
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
        try:
            return results.scores(
                next(self._rankings).ScoreItems(request, timeout=self._timeout if timeout is None else timeout)
            )
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
        timeout: float | None = None,
    ) -> results.Ranking:
        """The items, best first; the best of the whole catalogue where `item_ids` is None. An empty list is refused."""
        request = rank_request(user_id, item_ids, top_k, temperature, time, channel)
        limit = rank_timeout(request, self._timeout) if timeout is None else timeout
        try:
            return results.ranking(next(self._rankings).RankItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    def items(self, item_ids: Iterable[str], *, timeout: float | None = None) -> dict[str, results.Item]:
        """What the items are, by id; ids the catalogue does not know are left out."""
        request = items_request(item_ids)
        try:
            return results.items(
                next(self._catalogs).GetItems(request, timeout=self._timeout if timeout is None else timeout)
            )
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


class AsyncClient:
    """`Client` for asyncio; make it inside the running loop."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        *,
        root_certificate: str | PathLike[str] | None = None,
        certificate: str | PathLike[str] | None = None,
        key: str | PathLike[str] | None = None,
        token: Token | None = None,
        connections: int = 1,
    ) -> None:
        self._timeout = timeout
        connection = Connection(address, root_certificate, certificate, key, token, credentials)
        self._channels = [connection.aio_channel(OPTIONS) for _ in range(counted(connections))]
        calls = [connection.authorized(channel) for channel in self._channels]
        self._rankings: Iterator[ranking_pb2_grpc.RankingServiceAsyncStub] = cycle(
            [ranking_pb2_grpc.RankingServiceStub(channel) for channel in calls]
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
        try:
            return results.scores(
                await next(self._rankings).ScoreItems(request, timeout=self._timeout if timeout is None else timeout)
            )
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
        timeout: float | None = None,
    ) -> results.Ranking:
        """As `Client.rank`."""
        request = rank_request(user_id, item_ids, top_k, temperature, time, channel)
        limit = rank_timeout(request, self._timeout) if timeout is None else timeout
        try:
            return results.ranking(await next(self._rankings).RankItems(request, timeout=limit))
        except grpc.RpcError as error:
            raise typed(error) from error

    async def items(self, item_ids: Iterable[str], *, timeout: float | None = None) -> dict[str, results.Item]:
        """As `Client.items`."""
        request = items_request(item_ids)
        try:
            return results.items(
                await next(self._catalogs).GetItems(request, timeout=self._timeout if timeout is None else timeout)
            )
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


def score_request(
    user_id: str, item_ids: Iterable[str], time: datetime | None, channel: str
) -> ranking_pb2.ScoreItemsRequest:
    """The request of ScoreItems. Raises InvalidRequest for what cannot be put into one."""
    return _build(
        ranking_pb2.ScoreItemsRequest, user_id=user_id, item_ids=_ids(item_ids), context=_context(time, channel)
    )


def rank_request(
    user_id: str,
    item_ids: Iterable[str] | None,
    top_k: int | None,
    temperature: float | None,
    time: datetime | None,
    channel: str,
) -> ranking_pb2.RankItemsRequest:
    """The request of RankItems. Raises InvalidRequest for what cannot be put into one, and for an empty list."""
    candidates = None if item_ids is None else _ids(item_ids)
    if candidates == []:
        raise InvalidRequest([FieldViolation("item_ids", "is empty; leave it out for the whole catalogue")])
    return _build(
        ranking_pb2.RankItemsRequest,
        user_id=user_id,
        item_ids=candidates,
        top_k=top_k,
        temperature=temperature,
        context=_context(time, channel),
    )


def items_request(item_ids: Iterable[str]) -> catalog_pb2.GetItemsRequest:
    """The request of GetItems. Raises InvalidRequest for what cannot be put into one."""
    return _build(catalog_pb2.GetItemsRequest, item_ids=_ids(item_ids))


M = TypeVar("M", bound=Message)


def _build(kind: type[M], **fields: Any) -> M:
    """The message, filled a field at a time, so that every field that does not fit can be named."""
    message = kind()
    wrong = []
    for name, value in fields.items():
        try:
            message.MergeFrom(kind(**{name: value}))
        except (TypeError, ValueError) as error:
            wrong.append(FieldViolation(name, f"does not fit: {value!r:.80}: {error!s:.200}"))
    if wrong:
        raise InvalidRequest(wrong)
    return message


def _ids(item_ids: Iterable[str]) -> list[str]:
    if isinstance(item_ids, str | bytes):
        raise InvalidRequest([FieldViolation("item_ids", f"is one text, not a list of ids: {item_ids!r:.80}")])
    return list(item_ids)


def rank_timeout(request: ranking_pb2.RankItemsRequest, default: float) -> float:
    """Seconds a ranking may take where the caller does not say: more for the whole catalogue."""
    return default if request.item_ids else max(default, CATALOGUE_TIMEOUT)


def _context(time: datetime | None, channel: str) -> ranking_pb2.RequestContext:
    context = _build(ranking_pb2.RequestContext, channel=channel)
    if time is not None:
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        context.time.CopyFrom(Timestamp(seconds=math.floor(aware.timestamp())))
    return context


def typed(error: grpc.RpcError) -> InvalidRequest | ServerError:
    """The error as shoprank's own: InvalidRequest where the server named bad fields, else ServerError."""
    if violations := _violations(error):
        return InvalidRequest(violations)
    return ServerError(error.code().name, error.details() or "")


def _violations(error: grpc.RpcError) -> list[FieldViolation]:
    trailers = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    found: list[FieldViolation] = []
    for key, value in trailers:
        if key != "grpc-status-details-bin" or isinstance(value, str):
            continue
        try:
            for detail in status_pb2.Status.FromString(value).details:
                if detail.type_url.rpartition("/")[2] == "google.rpc.BadRequest":
                    bad = status_pb2.BadRequest.FromString(detail.value)
                    found += [FieldViolation(v.field, v.description) for v in bad.field_violations]
        except DecodeError:
            continue  # details of another server; the code and message still stand
    return found
