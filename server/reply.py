"""Answers of the core into replies, as the bytes they are sent as.

The columns are put together here, a copy each; protobuf makes the rest. A message may be put together of parts: its
fields may come in any order (https://protobuf.dev/programming-guides/encoding/#order).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from server.columns import ranked_columns
from server.items import Found
from server.ranker import Ranking, Scores, State, Status
from server.wire import entries_of
from shoprank.v1 import ranking_pb2 as pb

STATES = {
    State.FOUND: pb.FEATURE_STATE_FOUND,
    State.MISSING: pb.FEATURE_STATE_MISSING,
    State.STALE: pb.FEATURE_STATE_STALE,
}


def scored(scores: Scores) -> bytes:
    """The reply of ScoreItems."""
    rest = (
        pb.ScoreItemsResponse(unknown_item_ids=scores.items.unknown).SerializeToString(),
        status_field(pb.ScoreItemsResponse, scores.status),
        served_by_field(
            pb.ScoreItemsResponse, scores.by.model, scores.by.version, scores.by.feature_service, scores.time
        ),
    )
    chosen = np.arange(len(scores.items))
    return joined(scores.items, chosen, (scores.probabilities, scores.logits), rest)


def ranked(ranking: Ranking) -> bytes:
    """The reply of RankItems."""
    by, items, chosen = ranking.by, ranking.items, ranking.chosen
    rest = _rest(
        len(items.positions), ranking.filtered, ranking.status, by.model, by.version, by.feature_service, ranking.time
    )
    if items.unknown:
        rest += pb.RankItemsResponse(unknown_item_ids=items.unknown).SerializeToString()
    if not len(chosen):
        return rest
    shelf, purchases, logits = items.shelf, ranking.purchase_probabilities, ranking.logits
    columns = ranked_columns(
        chosen, items.positions, shelf.facts, shelf.entries, purchases, logits, ranking.temperature
    )
    return b"".join((columns, rest))


@lru_cache(maxsize=16_384)
def _rest(
    count: int, filtered: int, status: Status, model: str, version: int, feature_service: str, time: int
) -> bytes:
    """What is not columns, of a ranking's reply: at one time those of most users are alike."""
    counts = pb.RankItemsResponse(candidate_count=count, filtered_count=filtered).SerializeToString()
    by = served_by_field(pb.RankItemsResponse, model, version, feature_service, time)
    return b"".join((counts, status_field(pb.RankItemsResponse, status), by))


def joined(
    items: Found, chosen: npt.NDArray[np.intp], columns: Sequence[npt.NDArray[np.float32]], rest: Sequence[bytes]
) -> bytes:
    """A reply: ids of the chosen items, the columns as packed fields of floats numbered from 2, and the rest."""
    if not len(chosen):
        return b"".join(rest)
    shelf = items.shelf
    parts = [entries_of(chosen, items.positions, shelf.facts, shelf.entries)]
    for number, column in enumerate(columns, 2):
        parts += (head(number, 4 * len(column)), column)
    return b"".join((*parts, *rest))


@lru_cache(maxsize=16_384)
def head(number: int, size: int) -> bytes:
    """What comes before the bytes of a length-delimited field of that number, below 16: its tag and its size."""
    out = [number << 3 | 2]
    while size >= 128:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes((*out, size))


@lru_cache(maxsize=4_096)
def status_field(reply: type[Message], status: Status) -> bytes:
    """The field `feature_status` of a reply: at one time those of most users are alike."""
    content = pb.FeatureStatus(
        user=STATES[status.user],
        user_age=_duration(status.user_age),
        items_found=status.items_found,
        items_missing=status.items_missing,
        items_stale=status.items_stale,
        items_age=_duration(status.items_age),
    )
    return _field(reply, "feature_status", content)


def _duration(seconds: int | None) -> Duration | None:
    return None if seconds is None else Duration(seconds=seconds)


@lru_cache(maxsize=1_024)
def served_by_field(reply: type[Message], model: str, version: int, feature_service: str, time: int) -> bytes:
    """The field `served_by` of a reply."""
    content = pb.ServedBy(
        model=model, model_version=version, feature_service=feature_service, time=Timestamp(seconds=time)
    )
    return _field(reply, "served_by", content)


def _field(reply: type[Message], name: str, content: Message) -> bytes:
    """A field of a reply that is a message itself, as bytes."""
    encoded = content.SerializeToString()
    return head(reply.DESCRIPTOR.fields_by_name[name].number, len(encoded)) + encoded
