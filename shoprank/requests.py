"""Requests put together from plain values, and errors of the server as shoprank's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from shoprank.bad_fields import BadFields
from shoprank.errors import FieldViolation, InvalidRequest, ServerError
from shoprank.v1 import catalog_pb2, filter_pb2, ranking_pb2, status_pb2

DEFAULT_TIMEOUT = 1.0
"""Seconds that a call may take where nobody says."""
CATALOGUE_TIMEOUT = 10.0
"""The same of a batch, and of a ranking of the whole catalogue."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    bad = BadFields()
    parts = {"item_ids": bad.part(lambda: _ids(item_ids)), "context": bad.part(lambda: context_of(time, channel))}
    return whole(bad, ranking_pb2.ScoreItemsRequest, user_id=user_id, **parts)


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
    bad = BadFields()
    candidates = None if item_ids is None else bad.part(lambda: _ids(item_ids))
    if candidates == []:
        bad.add("item_ids", "is empty; leave it out for the whole catalogue")
    return whole(
        bad,
        ranking_pb2.RankItemsRequest,
        user_id=user_id,
        item_ids=candidates,
        top_k=top_k,
        temperature=temperature,
        context=bad.part(lambda: context_of(time, channel)),
        filter=None if filter is None else bad.part(lambda: filter_message(filter)),
    )


def filter_message(filter: ItemFilter) -> filter_pb2.ItemFilter:
    """The filter as a message. Raises InvalidRequest for what cannot be put into one."""
    if not isinstance(filter, ItemFilter):
        raise InvalidRequest([FieldViolation("filter", f"is no ItemFilter: {filter!r:.80}")])
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


def whole(bad: BadFields, kind: type[M], **fields: Any) -> M:
    """The message. Raises InvalidRequest naming the fields that do not fit, those found bad before, and both."""
    message = bad.part(lambda: build(kind, **fields))
    bad.refuse(kind)
    assert message is not None
    return message


def _ids(item_ids: Iterable[str]) -> list[str]:
    if isinstance(item_ids, str | bytes):
        raise InvalidRequest([FieldViolation("item_ids", f"is one text, not a list of ids: {item_ids!r:.80}")])
    if not isinstance(item_ids, Iterable):
        raise InvalidRequest([FieldViolation("item_ids", f"is no list of ids: {item_ids!r:.80}")])
    return list(item_ids)


def usual_timeout(request: ranking_pb2.RankItemsRequest) -> float:
    """Seconds that a ranking may take where nobody says."""
    return DEFAULT_TIMEOUT if request.item_ids else CATALOGUE_TIMEOUT


def context_of(time: datetime | None, channel: str) -> ranking_pb2.RequestContext:
    """The context of a request. Raises InvalidRequest for what cannot be put into one."""
    bad, moment = BadFields(), None
    if isinstance(time, datetime):
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        moment = Timestamp(seconds=(aware - EPOCH) // timedelta(seconds=1))
    elif time is not None:
        bad.add("context.time", f"is no datetime: {time!r:.80}")
    context = bad.part(lambda: build(ranking_pb2.RequestContext, time=moment, channel=channel), "context.")
    bad.refuse(ranking_pb2.RequestContext)
    assert context is not None
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
