"""Requests for slates and for similar items into queries: everything bad is refused here, all of it at once."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

import numpy as np

from feature_repo.schema import USER_TRAITS
from feature_repo.transforms import I64
from server.parse import Violations, shown
from server.retrieval.traits import keys_of
from server.slates.draw import Rules
from server.slates.filters import GROUPS, Filter, Known, filter_of
from shoprank.v1 import recommendation_pb2 as pb

MAX_TOP_K, TOP_K = 500, 20
CANDIDATES = 500
MAX_TRAIT_BYTES = 64
MAX_SIMILAR, SIMILAR = 100, 10
LIKENESS = {
    pb.LIKENESS_UNSPECIFIED: ("BOUGHT_TOGETHER", "ALSO_BOUGHT", "SIMILAR"),
    pb.LIKENESS_BOUGHT_TOGETHER: ("BOUGHT_TOGETHER",),
    pb.LIKENESS_ALSO_BOUGHT: ("ALSO_BOUGHT",),
    pb.LIKENESS_CONTENT: ("SIMILAR",),
}
"""Reasons of the sources that say so."""


@dataclass(frozen=True, slots=True)
class RecommendQuery:
    """For whom, how many of how many candidates, and by which rules. traits: keys of what is told of the user, see
    `server.retrieval.traits.keys_of`; None for nothing. time: seconds since 1970 UTC, None for the
    server's clock. seed: of the draw; 0 without exploration."""

    user_id: str
    traits: I64 | None
    top_k: int
    candidates: int
    filter: Filter | None
    rules: Rules
    seed: int
    time: int | None


@dataclass(frozen=True, slots=True)
class SimilarQuery:
    """Like which item, how many, and by sources of which reasons."""

    item_id: str
    top_k: int
    reasons: tuple[str, ...]


def recommend_query(request: pb.RecommendItemsRequest, max_candidates: int, known: Known) -> RecommendQuery:
    """Raises InvalidRequest naming every bad field. known: see `filter_of`."""
    bad = Violations()
    bad.identifier("user_id", request.user_id)
    candidates = request.candidates if request.HasField("candidates") else min(CANDIDATES, max_candidates)
    if not 1 <= candidates <= max_candidates:
        bad.add("candidates", f"is not between 1 and {max_candidates}: {candidates}")
        candidates = CANDIDATES
    top_k = request.top_k if request.HasField("top_k") else min(TOP_K, candidates)
    if not 1 <= top_k <= min(MAX_TOP_K, candidates):
        what = f"{candidates}, the number of candidates" if candidates < MAX_TOP_K else f"{MAX_TOP_K}"
        bad.add("top_k", f"is not between 1 and {what}: {top_k}")
    passing = filter_of(request.filter, bad, known) if request.HasField("filter") else None
    rules = Rules(_relevance(request, bad), _temperature(request, bad), _caps(request, bad))
    seed = 0
    if rules.temperature is not None:
        seed = request.exploration.seed if request.exploration.HasField("seed") else secrets.randbits(64)
    time = bad.time(request.context)
    traits = _traits(request, bad)
    bad.refuse(pb.RecommendItemsRequest)
    return RecommendQuery(request.user_id, traits, top_k, candidates, passing, rules, seed, time)


def similar_query(request: pb.SimilarItemsRequest) -> SimilarQuery:
    """Raises InvalidRequest naming every bad field."""
    bad = Violations()
    bad.identifier("item_id", request.item_id)
    top_k = request.top_k if request.HasField("top_k") else SIMILAR
    if not 1 <= top_k <= MAX_SIMILAR:
        bad.add("top_k", f"is not between 1 and {MAX_SIMILAR}: {top_k}")
    if request.likeness not in LIKENESS:
        bad.add("likeness", f"is none of 0 to {max(LIKENESS)}: {request.likeness}")
    bad.refuse(pb.SimilarItemsRequest)
    return SimilarQuery(request.item_id, top_k, LIKENESS[request.likeness])


def _traits(request: pb.RecommendItemsRequest, bad: Violations) -> I64 | None:
    if not request.user_traits:
        return None
    for name, value in sorted(request.user_traits.items()):
        if name not in USER_TRAITS:
            bad.add(f"user_traits[{shown(name)}]", f"is none of {', '.join(USER_TRAITS)}")
        elif not 1 <= len(value.encode()) <= MAX_TRAIT_BYTES:
            bad.add(f"user_traits[{name}]", f"has {len(value.encode())} bytes, not 1 to {MAX_TRAIT_BYTES}")
    return keys_of(request.user_traits)


def _relevance(request: pb.RecommendItemsRequest, bad: Violations) -> float:
    if not request.HasField("diversity"):
        return 1.0
    value = getattr(request.diversity, "lambda")  # a word of Python's
    if not 0 <= value <= 1:
        bad.add("diversity.lambda", f"is not between 0 and 1: {value}")
    return float(value)


def _temperature(request: pb.RecommendItemsRequest, bad: Violations) -> float | None:
    if not request.HasField("exploration"):
        return None
    value = request.exploration.temperature
    if not (math.isfinite(value) and value > 0):
        bad.add("exploration.temperature", f"is not a finite number above 0: {value}")
    return float(value)


def _caps(request: pb.RecommendItemsRequest, bad: Violations) -> I64:
    caps = np.full(len(GROUPS), MAX_TOP_K, np.int64)
    for i, group in enumerate(GROUPS):
        if request.limits.HasField(f"per_{group}"):  # type: ignore[arg-type]  # one of its fields
            caps[i] = getattr(request.limits, f"per_{group}")
            if not 1 <= caps[i] <= MAX_TOP_K:
                bad.add(f"limits.per_{group}", f"is not between 1 and {MAX_TOP_K}: {caps[i]}")
    return caps
