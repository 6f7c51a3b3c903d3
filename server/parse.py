"""Requests into queries: everything bad is refused here, all of it at once, and past here all is good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from server import wire
from server.items import Shelf, Wanted
from server.slates.filters import Filter, Known, filter_of
from shoprank.bad_fields import BadFields
from shoprank.errors import FieldViolation, InvalidRequest
from shoprank.v1.catalog_pb2 import GetItemsRequest
from shoprank.v1.ranking_pb2 import RankItemsRequest, RequestContext, ScoreItemsRequest

MAX_ID_BYTES = 256
MAX_CHANNEL_BYTES = 64
CATALOGUE_TOP_K = 100
FIRST, LAST = 0, int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) + 86_400
"""Seconds since 1970: where the times of requests begin, and where they end."""
SHOWN = 80
ITEM_IDS = 2
"""Number of the field `item_ids` in the requests that have one."""

M = TypeVar("M", ScoreItemsRequest, RankItemsRequest)


@dataclass(slots=True)
class ScoreQuery:
    """Whom and what to score; `time` is seconds since 1970 UTC, None for the server's clock."""

    user_id: str
    items: Wanted
    time: int | None


@dataclass(slots=True)
class RankQuery:
    """Whom and what to rank; no items means the whole catalogue, no top_k all of those given, no filter all of them."""

    user_id: str
    items: Wanted
    top_k: int | None
    temperature: float
    time: int | None
    filter: Filter | None = None


class Violations(BadFields):
    """Collects the bad fields of one request."""

    __slots__ = ()

    def identifier(self, name: str, value: str) -> None:
        size = len(value) if value.isascii() else len(value.encode())
        if not size:
            self.add(name, "is empty")
        elif size > MAX_ID_BYTES:
            self.add(name, f"has {size} bytes, at most {MAX_ID_BYTES} are allowed: {shown(value)}")

    def items(self, item_ids: Sequence[str], limit: int) -> Wanted:
        wanted = Wanted.of(item_ids)
        if len(item_ids) > limit:
            self.add("item_ids", f"has {len(item_ids)} entries, at most {limit} are allowed")
            return wanted
        seen: dict[str, int] = {}
        for i, item_id in enumerate(item_ids):
            self.identifier(f"item_ids[{i}]", item_id)
            first = seen.setdefault(item_id, i)
            if first != i and item_id:
                self.add(f"item_ids[{i}]", f"repeats item_ids[{first}]: {shown(item_id)}")
        return wanted

    def time(self, context: RequestContext) -> int | None:
        """The request's time, None where it is unset."""
        time = context.time if context.HasField("time") else None
        if time is not None and (not FIRST <= time.seconds < LAST or not 0 <= time.nanos < 1_000_000_000):
            self.add("context.time", f"is not between 1970 and 9999: {time.seconds} s {time.nanos} ns")
        if context.channel and (size := len(context.channel.encode())) > MAX_CHANNEL_BYTES:
            self.add("context.channel", f"has {size} bytes, at most {MAX_CHANNEL_BYTES} are allowed")
        return None if time is None else int(time.seconds)


def shown(value: str) -> str:
    """A value for a message, cut to so many bytes."""
    start = value[:SHOWN].encode()[:SHOWN].decode(errors="ignore")
    return repr(value if start == value else start + "…")


def score_query(request: bytes, max_candidates: int, shelf: Shelf) -> ScoreQuery:
    """The query of a ScoreItemsRequest. Raises InvalidRequest naming every bad field."""
    rest, items = _taken_apart(request, ScoreItemsRequest, max_candidates, shelf)
    return checked_score(rest, max_candidates, items)


def checked_score(request: ScoreItemsRequest, max_candidates: int, items: Wanted | None = None) -> ScoreQuery:
    """As `score_query`, of a message; `items`: its item_ids, where they were taken out of it."""
    bad = Violations()
    bad.identifier("user_id", request.user_id)
    items = bad.items(request.item_ids, max_candidates) if items is None else items
    if not len(items):
        bad.add("item_ids", "is empty")
    time = bad.time(request.context)
    bad.refuse(ScoreItemsRequest)
    return ScoreQuery(request.user_id, items, time)


def rank_query(request: bytes, max_candidates: int, shelf: Shelf, known: Known | None = None) -> RankQuery:
    """The query of a RankItemsRequest. Raises InvalidRequest naming every bad field. known: see `filter_of`."""
    rest, items = _taken_apart(request, RankItemsRequest, max_candidates, shelf)
    return checked_rank(rest, max_candidates, items, known)


def checked_rank(
    request: RankItemsRequest, max_candidates: int, items: Wanted | None = None, known: Known | None = None
) -> RankQuery:
    """As `rank_query`, of a message; `items`: its item_ids, where they were taken out of it."""
    bad = Violations()
    bad.identifier("user_id", request.user_id)
    items = bad.items(request.item_ids, max_candidates) if items is None else items
    count = len(items)
    top_k = request.top_k if request.HasField("top_k") else None
    if top_k is not None:
        limit, what = (count, "the number of candidates") if count else (max_candidates, "the most allowed")
        if not 1 <= top_k <= limit:
            bad.add("top_k", f"is not between 1 and {limit}, {what}: {top_k}")
    elif not count:
        top_k = CATALOGUE_TOP_K
    temperature = request.temperature if request.HasField("temperature") else 1.0
    if not (math.isfinite(temperature) and temperature > 0):
        bad.add("temperature", f"is not a finite number above 0: {temperature}")
    time = bad.time(request.context)
    passing = filter_of(request.filter, bad, known) if request.HasField("filter") else None
    bad.refuse(RankItemsRequest)
    return RankQuery(request.user_id, items, top_k, temperature, time, passing)


def _taken_apart(request: bytes, kind: type[M], max_candidates: int, shelf: Shelf) -> tuple[M, Wanted | None]:
    """The message without its item_ids, and those; where they are odd in any way, the message with them, and None.

    Raises InvalidRequest where the bytes are no such message.
    """
    most, version = wire.most_ids(request), shelf.version
    found, rest = np.empty(2 * most + 2, np.int64), np.empty(len(request), np.uint8)
    count = wire.split(np.frombuffer(request, np.uint8), ITEM_IDS, shelf.index, shelf.facts, shelf.entries, found, rest)
    try:
        if count < 0 or count > max_candidates:
            return kind.FromString(request), None
        left = kind.FromString(rest[: found[-1]].tobytes())
    except DecodeError as error:
        raise InvalidRequest([FieldViolation("request", f"is no {kind.DESCRIPTOR.full_name}: {error}")]) from error
    positions = None if found[-2] else found[:count]
    return left, Wanted(request, found[most : most + count], shelf, version, positions)


def items_query(request: GetItemsRequest, max_items: int) -> tuple[str, ...]:
    """Raises InvalidRequest naming every bad field. Repeated ids are allowed."""
    bad = Violations()
    item_ids = tuple(request.item_ids)
    if not item_ids:
        bad.add("item_ids", "is empty")
    if len(item_ids) > max_items:
        bad.add("item_ids", f"has {len(item_ids)} entries, at most {max_items} are allowed")
    for i, item_id in enumerate(item_ids[:max_items]):
        bad.identifier(f"item_ids[{i}]", item_id)
    bad.refuse(GetItemsRequest)
    return item_ids
