"""Requests put together from plain values, and errors of the server as shoprank's own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from shoprank.errors import FieldViolation, InvalidRequest, ServerError
from shoprank.v1 import catalog_pb2, ranking_pb2, status_pb2

CATALOGUE_TIMEOUT = 10.0
"""Seconds a ranking of the whole catalogue may take by default."""


@dataclass(frozen=True, slots=True)
class RankRequest:
    """One of many rankings: whom to rank for, and what, as in `Client.rank`."""

    user_id: str
    item_ids: Iterable[str] | None = None
    top_k: int | None = None
    temperature: float | None = None
    time: datetime | None = None
    channel: str = ""


def message_of(request: RankRequest, place: int) -> ranking_pb2.RankItemsRequest:
    """The request at a place, from 0, among many. Raises InvalidRequest naming each bad field as the server does."""
    try:
        return rank_request(
            request.user_id, request.item_ids, request.top_k, request.temperature, request.time, request.channel
        )
    except InvalidRequest as error:
        raise InvalidRequest(
            [FieldViolation(f"requests[{place}].{v.field}", v.description) for v in error.violations]
        ) from error


def batch_request(requests: Iterable[RankRequest]) -> ranking_pb2.BatchRankItemsRequest:
    """The request of BatchRankItems. Raises InvalidRequest naming every bad field of the first bad request."""
    return ranking_pb2.BatchRankItemsRequest(requests=[message_of(one, place) for place, one in enumerate(requests)])


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
