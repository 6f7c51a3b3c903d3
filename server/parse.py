"""Requests into queries: everything bad is refused here, all of it at once, and past here all is good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shoprank.errors import FieldViolation, InvalidRequest
from shoprank.v1.catalog_pb2 import GetItemsRequest
from shoprank.v1.ranking_pb2 import RankItemsRequest, RequestContext, ScoreItemsRequest

MAX_ID_BYTES = 256
SURE = MAX_ID_BYTES // 4
"""Characters that cannot be too many bytes, whatever they are."""
MAX_CHANNEL_BYTES = 64
CATALOGUE_TOP_K = 100
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1970, 9999))
SHOWN = 80


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """Whom and what to score; `time` is seconds since 1970 UTC, None for the server's clock."""

    user_id: str
    item_ids: tuple[str, ...]
    time: int | None


@dataclass(frozen=True, slots=True)
class RankQuery:
    """Whom and what to rank; no item_ids means the whole catalogue, no top_k all of those given."""

    user_id: str
    item_ids: tuple[str, ...]
    top_k: int | None
    temperature: float
    time: int | None


@dataclass(slots=True)
class _Violations:
    """Collects the bad fields of one request."""

    found: list[FieldViolation] = field(default_factory=list)

    def add(self, name: str, description: str) -> None:
        self.found.append(FieldViolation(name, description))

    def identifier(self, name: str, value: str) -> None:
        size = len(value) if value.isascii() else len(value.encode())
        if not size:
            self.add(name, "is empty")
        elif size > MAX_ID_BYTES:
            self.add(name, f"has {size} bytes, at most {MAX_ID_BYTES} are allowed: {shown(value)}")

    def items(self, item_ids: Sequence[str], limit: int) -> None:
        if len(item_ids) > limit:
            self.add("item_ids", f"has {len(item_ids)} entries, at most {limit} are allowed")
            return
        distinct = set(item_ids)
        if len(distinct) == len(item_ids) and "" not in distinct and max(map(len, item_ids), default=0) <= SURE:
            return
        seen: dict[str, int] = {}
        for i, item_id in enumerate(item_ids):
            self.identifier(f"item_ids[{i}]", item_id)
            first = seen.setdefault(item_id, i)
            if first != i and item_id:
                self.add(f"item_ids[{i}]", f"repeats item_ids[{first}]: {shown(item_id)}")

    def time(self, context: RequestContext) -> int | None:
        """The request's time, None where it is unset."""
        if context.channel and (size := len(context.channel.encode())) > MAX_CHANNEL_BYTES:
            self.add("context.channel", f"has {size} bytes, at most {MAX_CHANNEL_BYTES} are allowed")
        if not context.HasField("time"):
            return None
        if not FIRST <= context.time.seconds < LAST or not 0 <= context.time.nanos < 1_000_000_000:
            self.add("context.time", f"is not between 1970 and 9999: {context.time.seconds} s {context.time.nanos} ns")
        return int(context.time.seconds)

    def refuse(self) -> None:
        if self.found:
            raise InvalidRequest(self.found)


def shown(value: str) -> str:
    """A value for a message, cut to so many bytes."""
    start = value[:SHOWN].encode()[:SHOWN].decode(errors="ignore")
    return repr(value if start == value else start + "…")


def score_query(request: ScoreItemsRequest, max_candidates: int) -> ScoreQuery:
    """Raises InvalidRequest naming every bad field."""
    bad = _Violations()
    bad.identifier("user_id", request.user_id)
    item_ids = tuple(request.item_ids)
    if not item_ids:
        bad.add("item_ids", "is empty")
    bad.items(item_ids, max_candidates)
    time = bad.time(request.context)
    bad.refuse()
    return ScoreQuery(request.user_id, item_ids, time)


def rank_query(request: RankItemsRequest, max_candidates: int) -> RankQuery:
    """Raises InvalidRequest naming every bad field."""
    bad = _Violations()
    bad.identifier("user_id", request.user_id)
    item_ids = tuple(request.item_ids)
    bad.items(item_ids, max_candidates)
    top_k = request.top_k if request.HasField("top_k") else None
    if top_k is not None:
        limit, what = (len(item_ids), "the number of candidates") if item_ids else (max_candidates, "the most allowed")
        if not 1 <= top_k <= limit:
            bad.add("top_k", f"is not between 1 and {limit}, {what}: {top_k}")
    elif not item_ids:
        top_k = CATALOGUE_TOP_K
    temperature = request.temperature if request.HasField("temperature") else 1.0
    if not (math.isfinite(temperature) and temperature > 0):
        bad.add("temperature", f"is not a finite number above 0: {temperature}")
    time = bad.time(request.context)
    bad.refuse()
    return RankQuery(request.user_id, item_ids, top_k, temperature, time)


def items_query(request: GetItemsRequest, max_items: int) -> tuple[str, ...]:
    """Raises InvalidRequest naming every bad field. Repeated ids are allowed."""
    bad = _Violations()
    item_ids = tuple(request.item_ids)
    if not item_ids:
        bad.add("item_ids", "is empty")
    if len(item_ids) > max_items:
        bad.add("item_ids", f"has {len(item_ids)} entries, at most {max_items} are allowed")
    for i, item_id in enumerate(item_ids[:max_items]):
        bad.identifier(f"item_ids[{i}]", item_id)
    bad.refuse()
    return item_ids
