"""Requests put together from plain values, and errors of the server as shoprank's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from shoprank.errors import FieldViolation, InvalidRequest, ServerError
from shoprank.v1 import catalog_pb2, filter_pb2, ranking_pb2, status_pb2

CATALOGUE_TIMEOUT = 10.0
"""Seconds a ranking of the whole catalogue may take by default."""


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items may be in an answer: those for which every condition given holds.

    departments … brands: values of which one must be the item's; excluded_…: values that it must not have. min_price,
    max_price: of its unit price. sold_within_days: sold to anybody since. not_bought_within_days: not bought by the
    user since. blocked_item_ids: no item of these.
    """

    departments: Sequence[str] = ()
    categories: Sequence[str] = ()
    subcategories: Sequence[str] = ()
    brands: Sequence[str] = ()
    excluded_departments: Sequence[str] = ()
    excluded_categories: Sequence[str] = ()
    excluded_subcategories: Sequence[str] = ()
    excluded_brands: Sequence[str] = ()
    min_price: float | None = None
    max_price: float | None = None
    sold_within_days: int | None = None
    not_bought_within_days: int | None = None
    blocked_item_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RankRequest:
    """One of many rankings: whom to rank for, and what, as in `Client.rank`."""

    user_id: str
    item_ids: Iterable[str] | None = None
    top_k: int | None = None
    temperature: float | None = None
    time: datetime | None = None
    channel: str = ""
    filter: ItemFilter | None = None


def message_of(request: RankRequest, place: int) -> ranking_pb2.RankItemsRequest:
    """The request at a place, from 0, among many. Raises InvalidRequest naming each bad field as the server does."""
    try:
        return rank_request(
            request.user_id, request.item_ids, request.top_k, request.temperature, request.time, request.channel,
            request.filter,
        )  # fmt: skip
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
    return build(
        ranking_pb2.ScoreItemsRequest, user_id=user_id, item_ids=_ids(item_ids), context=context_of(time, channel)
    )


def rank_request(
    user_id: str,
    item_ids: Iterable[str] | None,
    top_k: int | None,
    temperature: float | None,
    time: datetime | None,
    channel: str,
    filter: ItemFilter | None = None,
) -> ranking_pb2.RankItemsRequest:
    """The request of RankItems. Raises InvalidRequest for what cannot be put into one, and for an empty list."""
    candidates = None if item_ids is None else _ids(item_ids)
    if candidates == []:
        raise InvalidRequest([FieldViolation("item_ids", "is empty; leave it out for the whole catalogue")])
    return build(
        ranking_pb2.RankItemsRequest,
        user_id=user_id,
        item_ids=candidates,
        top_k=top_k,
        temperature=temperature,
        context=context_of(time, channel),
        filter=None if filter is None else filter_message(filter),
    )


def filter_message(filter: ItemFilter) -> filter_pb2.ItemFilter:
    """The filter as a message. Raises InvalidRequest for what cannot be put into one."""
    values = {name: getattr(filter, name) for name in ItemFilter.__dataclass_fields__}
    texts = [name for name, value in values.items() if isinstance(value, str | bytes)]
    if texts:
        raise InvalidRequest([FieldViolation(f"filter.{name}", "is one text, not a list") for name in texts])
    try:
        return build(filter_pb2.ItemFilter, **values)
    except InvalidRequest as error:
        raise InvalidRequest([FieldViolation(f"filter.{v.field}", v.description) for v in error.violations]) from error


def items_request(item_ids: Iterable[str]) -> catalog_pb2.GetItemsRequest:
    """The request of GetItems. Raises InvalidRequest for what cannot be put into one."""
    return build(catalog_pb2.GetItemsRequest, item_ids=_ids(item_ids))


M = TypeVar("M", bound=Message)


def build(kind: type[M], **fields: Any) -> M:
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


def context_of(time: datetime | None, channel: str) -> ranking_pb2.RequestContext:
    """The context of a request. Raises InvalidRequest for what cannot be put into one."""
    context = build(ranking_pb2.RequestContext, channel=channel)
    if time is not None:
        if not isinstance(time, datetime):
            raise InvalidRequest([FieldViolation("context.time", f"is no datetime: {time!r:.80}")])
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
