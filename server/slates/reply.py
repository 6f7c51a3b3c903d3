"""Slates and similar items into replies, as the bytes they are sent as."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from server.reply import joined, served_by_field, status_field
from server.retrieval.retriever import Candidates
from server.slates.reasons import Reason
from server.slates.recommender import Recommendation, Similar
from shoprank.v1 import recommendation_pb2 as pb

KINDS = {name.removeprefix("REASON_KIND_"): number for name, number in pb.ReasonKind.items()}


def recommended(answer: Recommendation) -> bytes:
    """The reply of RecommendItems."""
    by, slate = answer.by, answer.slate
    rest = (
        pb.RecommendItemsResponse(
            log_propensity=slate.log_propensity,
            seed=answer.seed,
            item_sources=_sources(answer.candidates, answer.names),
            reasons=[_reason(reason) for reason in answer.reasons],
            candidate_count=len(answer.items),
        ).SerializeToString(),
        status_field(pb.RecommendItemsResponse, answer.status),
        served_by_field(pb.RecommendItemsResponse, by.model, by.version, by.feature_service, answer.time),
    )
    columns = (
        answer.purchase_probabilities.take(slate.chosen),
        answer.logits.take(slate.chosen),
        np.exp(slate.log_propensities).astype(np.float32),
    )
    return joined(answer.items, slate.chosen, columns, rest)


def similar(answer: Similar) -> pb.SimilarItemsResponse:
    """The reply of SimilarItems."""
    return pb.SimilarItemsResponse(
        item_ids=answer.item_ids,
        scores=answer.scores.tolist(),
        item_sources=_sources(answer.candidates, answer.names),
        model=answer.by.model,
        model_version=answer.by.version,
    )


def _sources(candidates: Candidates, names: tuple[str, ...]) -> list[pb.ItemSources]:
    pairs = zip(candidates.bits.tolist(), candidates.first.tolist(), strict=True)
    return [_named(names, bits, first) for bits, first in pairs]


@lru_cache(maxsize=4_096)
def _named(names: tuple[str, ...], bits: int, first: int) -> pb.ItemSources:
    others = [name for i, name in enumerate(names) if bits >> i & 1 and i != first]
    return pb.ItemSources(sources=[names[first], *others])


def _reason(reason: Reason) -> pb.Reason:
    return pb.Reason(kind=KINDS[reason.kind], text=reason.text, item_id=reason.item_id, gap_days=reason.gap_days)
