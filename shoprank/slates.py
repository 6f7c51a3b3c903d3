"""Requests for slates and similar items, put together from plain values, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any

from google.protobuf.message import Message

from shoprank.bad_fields import BadFields
from shoprank.requests import ItemFilter, build, context_of, filter_message, whole
from shoprank.results import FeatureStatus, ServedBy, served_by_of, status_of
from shoprank.v1 import recommendation_pb2 as pb


class ReasonKind(StrEnum):
    """What speaks for an item."""

    BUYS_REGULARLY = "buys_regularly"
    BOUGHT_BEFORE = "bought_before"
    BOUGHT_TOGETHER = "bought_together"
    ALSO_BOUGHT = "also_bought"
    SIMILAR = "similar"
    CATEGORY = "category"
    SEGMENT = "segment"
    POPULAR = "popular"
    VIEWED = "viewed"
    FILLS_UP = "fills_up"
    UNKNOWN = "unknown"
    """Of a newer server."""


class Likeness(StrEnum):
    """In what items are alike."""

    ANY = "unspecified"
    BOUGHT_TOGETHER = "bought_together"
    ALSO_BOUGHT = "also_bought"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class SlateRules:
    """How a slate is put together.

    filter: which items may be candidates. diversity: lambda of maximal marginal relevance, 0 to 1, 1 for relevance
    alone. per_department … per_brand: items of one kind at most. temperature: draw at random, from the softmax of
    logit / temperature; seed: of the draw. None: no such rule.
    """

    filter: ItemFilter | None = None
    diversity: float | None = None
    per_department: int | None = None
    per_category: int | None = None
    per_subcategory: int | None = None
    per_brand: int | None = None
    temperature: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item is in a slate. item_id: the user's item it was proposed for, "" for none; gap_days: mean days between
    the user's purchases, 0 where they say nothing."""

    kind: ReasonKind
    text: str
    item_id: str
    gap_days: float


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """An item at its place, from 1. propensity: probability that the draw gives it the place, given those before it."""

    place: int
    item_id: str
    purchase_probability: float
    logit: float
    propensity: float
    sources: tuple[str, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Slate:
    """Recommended items. log_propensity: logarithm of the probability of exactly this slate, 0 without exploration."""

    items: tuple[RecommendedItem, ...]
    log_propensity: float
    seed: int
    candidate_count: int
    feature_status: FeatureStatus
    served_by: ServedBy

    def __iter__(self) -> Iterator[RecommendedItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class SimilarItem:
    """An item like another, how high the sources rank it (0 to 1), and which."""

    item_id: str
    score: float
    sources: tuple[str, ...]


NO_RULES = SlateRules()


def recommend_request(
    user_id: str,
    top_k: int | None,
    candidates: int | None,
    rules: SlateRules,
    time: datetime | None,
    channel: str,
    traits: Mapping[str, str] | None = None,
) -> pb.RecommendItemsRequest:
    """The request of RecommendItems. Raises InvalidRequest for what cannot be put into one."""
    bad = BadFields()
    kinds = ("department", "category", "subcategory", "brand")
    caps = {f"per_{kind}": getattr(rules, f"per_{kind}") for kind in kinds}
    given: dict[str, tuple[type[Message], dict[str, Any]]] = {}
    if rules.diversity is not None:
        given["diversity"] = pb.Diversity, {"lambda": rules.diversity}
    if any(cap is not None for cap in caps.values()):
        given["limits"] = pb.Limits, caps
    if rules.temperature is not None:
        given["exploration"] = pb.Exploration, {"temperature": rules.temperature, "seed": rules.seed}
    elif rules.seed is not None:
        bad.add("exploration.seed", "is given without a temperature")
    parts: dict[str, Any] = {
        name: bad.part(partial(build, kind, **fields), f"{name}.") for name, (kind, fields) in given.items()
    }
    return whole(
        bad,
        pb.RecommendItemsRequest,
        user_id=user_id,
        top_k=top_k,
        candidates=candidates,
        filter=None if rules.filter is None else bad.part(partial(filter_message, rules.filter)),
        context=bad.part(lambda: context_of(time, channel)),
        user_traits=traits or None,
        **parts,
    )


def similar_request(item_id: str, top_k: int | None, likeness: Likeness) -> pb.SimilarItemsRequest:
    """The request of SimilarItems. Raises InvalidRequest for what cannot be put into one."""
    bad, kind = BadFields(), None
    if likeness not in list(Likeness):
        bad.add("likeness", f"is none of {', '.join(Likeness)}: {likeness!r:.80}")
    elif likeness != Likeness.ANY:
        kind = f"LIKENESS_{Likeness(likeness).name}"
    return whole(bad, pb.SimilarItemsRequest, item_id=item_id, top_k=top_k, likeness=kind)


def slate(reply: pb.RecommendItemsResponse) -> Slate:
    """The typed result of RecommendItems."""
    columns: Sequence[Sequence[Any]] = (
        reply.item_ids, reply.purchase_probabilities, reply.logits, reply.propensities,
        [tuple(one.sources) for one in reply.item_sources], [_reason(one) for one in reply.reasons],
    )  # fmt: skip
    return Slate(
        items=tuple(RecommendedItem(place, *row) for place, row in enumerate(zip(*columns, strict=True), 1)),
        log_propensity=reply.log_propensity,
        seed=reply.seed,
        candidate_count=reply.candidate_count,
        feature_status=status_of(reply.feature_status),
        served_by=served_by_of(reply.served_by),
    )


def similar(reply: pb.SimilarItemsResponse) -> tuple[SimilarItem, ...]:
    """The typed result of SimilarItems."""
    columns = zip(reply.item_ids, reply.scores, reply.item_sources, strict=True)
    return tuple(SimilarItem(item_id, score, tuple(sources.sources)) for item_id, score, sources in columns)


_KINDS = {number: name.removeprefix("REASON_KIND_").lower() for name, number in pb.ReasonKind.items()}


def _reason(reason: pb.Reason) -> Reason:
    kind = _KINDS.get(reason.kind, "")
    known = ReasonKind(kind) if kind in list(ReasonKind) else ReasonKind.UNKNOWN
    return Reason(known, reason.text, reason.item_id, reason.gap_days)
