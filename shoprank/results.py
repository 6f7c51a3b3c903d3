"""What the client returns: plain typed results, one object an item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from shoprank.v1 import catalog_pb2, ranking_pb2


class FeatureState(StrEnum):
    """Whether the user's features were there when the request was served."""

    FOUND = "found"
    MISSING = "missing"
    STALE = "stale"


_STATES = {
    ranking_pb2.FEATURE_STATE_FOUND: FeatureState.FOUND,
    ranking_pb2.FEATURE_STATE_MISSING: FeatureState.MISSING,
    ranking_pb2.FEATURE_STATE_STALE: FeatureState.STALE,
}


@dataclass(frozen=True, slots=True)
class FeatureStatus:
    """What features an answer rests on; an age is None where nothing was found."""

    user: FeatureState
    user_age: timedelta | None
    items_found: int
    items_missing: int
    items_stale: int
    items_age: timedelta | None


@dataclass(frozen=True, slots=True)
class ServedBy:
    """What computed an answer, and the moment the features were taken at (UTC)."""

    model: str
    model_version: int
    feature_service: str
    time: datetime


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item with its calibrated purchase probability, 0 to 1, and the log-odds of it."""

    item_id: str
    probability: float
    logit: float


@dataclass(frozen=True, slots=True)
class RankedItem:
    """An item at its rank (from 1): softmax probability over the candidates, purchase probability, log-odds."""

    rank: int
    item_id: str
    probability: float
    purchase_probability: float
    logit: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Scored items in the order of the request; items the feature store does not know stand apart."""

    items: tuple[ScoredItem, ...]
    unknown_item_ids: tuple[str, ...]
    feature_status: FeatureStatus
    served_by: ServedBy

    def __iter__(self) -> Iterator[ScoredItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranked items, best first; `candidate_count` is how many the softmax runs over, `filtered_count` how many others a
    filter left out."""

    items: tuple[RankedItem, ...]
    unknown_item_ids: tuple[str, ...]
    candidate_count: int
    feature_status: FeatureStatus
    served_by: ServedBy
    filtered_count: int = 0

    def __iter__(self) -> Iterator[RankedItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Item:
    """What an item is; an empty string means the catalogue does not say."""

    item_id: str
    name: str
    department: str
    category: str
    subcategory: str
    brand: str


def scores(reply: ranking_pb2.ScoreItemsResponse) -> Scores:
    """The typed result of ScoreItems."""
    columns = zip(reply.item_ids, reply.probabilities, reply.logits, strict=True)
    return Scores(
        items=tuple(ScoredItem(*column) for column in columns),
        unknown_item_ids=tuple(reply.unknown_item_ids),
        feature_status=status_of(reply.feature_status),
        served_by=served_by_of(reply.served_by),
    )


def ranking(reply: ranking_pb2.RankItemsResponse) -> Ranking:
    """The typed result of RankItems."""
    columns = zip(reply.item_ids, reply.probabilities, reply.purchase_probabilities, reply.logits, strict=True)
    return Ranking(
        items=tuple(RankedItem(rank, *column) for rank, column in enumerate(columns, 1)),
        unknown_item_ids=tuple(reply.unknown_item_ids),
        candidate_count=reply.candidate_count,
        feature_status=status_of(reply.feature_status),
        served_by=served_by_of(reply.served_by),
        filtered_count=reply.filtered_count,
    )


def items(reply: catalog_pb2.GetItemsResponse) -> dict[str, Item]:
    """The known items by id."""
    return {i.item_id: Item(i.item_id, i.name, i.department, i.category, i.subcategory, i.brand) for i in reply.items}


def status_of(status: ranking_pb2.FeatureStatus) -> FeatureStatus:
    """The typed status."""
    return FeatureStatus(
        user=_STATES[status.user],
        user_age=status.user_age.ToTimedelta() if status.HasField("user_age") else None,
        items_found=status.items_found,
        items_missing=status.items_missing,
        items_stale=status.items_stale,
        items_age=status.items_age.ToTimedelta() if status.HasField("items_age") else None,
    )


def served_by_of(served_by: ranking_pb2.ServedBy) -> ServedBy:
    """What computed an answer, typed."""
    return ServedBy(
        model=served_by.model,
        model_version=served_by.model_version,
        feature_service=served_by.feature_service,
        time=served_by.time.ToDatetime(UTC),
    )
