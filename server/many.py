"""Many requests for rankings in one call: taken apart, ranked together, put together again.

What is bad is named by the place of its request, `requests[3].item_ids[0]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from server import parse, reply
from server.parse import RankQuery
from server.ranker import ROWS_A_RUN, Ranker, Ranking
from server.settings import Settings
from shoprank.errors import FieldViolation, InvalidRequest, TooLate
from shoprank.v1.ranking_pb2 import BatchRankItemsRequest

REQUESTS = b"\x0a"
"""Tag of field 1, length-delimited: `requests` of a batch, and `responses` of its answer."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one call may ask for; see `server.settings.Settings`."""

    batch: int
    batch_candidates: int
    streams: int
    read_ahead: int

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        """Those of the settings."""
        return cls(settings.max_batch, settings.max_batch_candidates, settings.max_streams, settings.read_ahead)


def requests_of(batch: bytes) -> list[bytes]:
    """The requests of a BatchRankItemsRequest, each as its bytes. Raises InvalidRequest where it is no such message."""
    requests, at, size = [], 0, len(batch)
    while at < size and batch[at : at + 1] == REQUESTS:
        length, start = _length(batch, at + 1)
        if start + length > size:
            break
        requests.append(batch[start : start + length])
        at = start + length
    if at == size:
        return requests
    try:  # fields of a newer version, or malformed: protobuf tells which
        return [request.SerializeToString() for request in BatchRankItemsRequest.FromString(batch).requests]
    except DecodeError as error:
        name = BatchRankItemsRequest.DESCRIPTOR.full_name
        raise InvalidRequest([FieldViolation("request", f"is no {name}: {error}")]) from error


def _length(buffer: bytes, at: int) -> tuple[int, int]:
    """A varint of at most five bytes and where it ends; past the buffer's end where there is none."""
    value = 0
    for shift, byte in zip(range(0, 35, 7), buffer[at : at + 5], strict=False):
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    return 0, len(buffer) + 1


def joined(replies: Sequence[bytes]) -> bytes:
    """The BatchRankItemsResponse of these replies."""
    return b"".join(part for one in replies for part in (reply.head(1, len(one)), one))


def queries_of(requests: Sequence[bytes], max_candidates: int, bounds: Bounds, ranker: Ranker) -> list[RankQuery]:
    """The queries of a batch. Raises InvalidRequest naming every bad field of every request."""
    if not 1 <= len(requests) <= bounds.batch:
        wrong = f"has {len(requests)} entries, at most {bounds.batch} are allowed" if requests else "is empty"
        raise InvalidRequest([FieldViolation("requests", wrong)])
    queries: list[RankQuery] = []
    violations: list[FieldViolation] = []
    for place, request in enumerate(requests):
        try:
            queries.append(query_of(request, place, max_candidates, ranker))
        except InvalidRequest as error:
            violations += error.violations
    if violations:
        raise InvalidRequest(violations)
    if (candidates := sum(ranker.candidates(query) for query in queries)) > bounds.batch_candidates:
        wrong = f"have {candidates} candidates in all, at most {bounds.batch_candidates} are allowed"
        raise InvalidRequest([FieldViolation("requests", wrong)])
    return queries


def query_of(request: bytes, place: int, max_candidates: int, ranker: Ranker) -> RankQuery:
    """The query of the request at a place, from 0. Raises InvalidRequest naming every bad field of it."""
    try:
        return parse.rank_query(request, max_candidates, ranker.items.shelf, ranker.known)
    except InvalidRequest as error:
        raise InvalidRequest([_placed(violation, place) for violation in error.violations]) from error


def _placed(violation: FieldViolation, place: int) -> FieldViolation:
    field = f"requests[{place}]" if violation.field == "request" else f"requests[{place}].{violation.field}"
    return FieldViolation(field, violation.description)


Rank = Callable[[list[RankQuery]], Sequence[Ranking]]
"""Ranks items for several queries, by one run of the model."""


def ranked(ranker: Ranker, queries: Sequence[RankQuery], active: Callable[[], bool], rank: Rank) -> Iterator[bytes]:
    """The replies, in the order of the queries; as many as fit are ranked at once.

    active: whether anybody waits for them still; it is asked before each run, and TooLate is raised where nobody does.
    """
    for group in _groups(ranker, queries):
        if not active():
            raise TooLate("the caller has gone")
        yield from map(reply.ranked, rank(group))


def _groups(ranker: Ranker, queries: Sequence[RankQuery]) -> Iterator[list[RankQuery]]:
    group: list[RankQuery] = []
    rows = 0
    for query in queries:
        count = ranker.candidates(query)
        if group and rows + count > ROWS_A_RUN:
            yield group
            group, rows = [], 0
        group.append(query)
        rows += count
    if group:
        yield group
