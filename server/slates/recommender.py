"""Answers queries for slates and similar items: retrieval, ranking, rules."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from feature_repo.schema import ITEM_NUMBERS
from server.call import Call
from server.catalogue import Catalogue
from server.items import Found, Shelf
from server.models.model import F32, Model
from server.ranker import Ranker, Status
from server.retrieval.history import History
from server.retrieval.retriever import Candidates, Mask, Retriever
from server.retrieval.traits import told
from server.slates.draw import Slate, draw
from server.slates.filters import COLUMNS, Traits
from server.slates.parse import RecommendQuery, SimilarQuery
from server.slates.reasons import Reason, reasons
from server.towers import Asked
from shoprank.bundle import Manifest
from shoprank.errors import BundleError, NotFound

BUYERS = [feature.name for feature in ITEM_NUMBERS].index("item_buyers_28d")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A slate of k of n ranked candidates.

    items: the n. slate: which of them, and with what probability. candidates: where each of the k comes from; reasons:
    why, of each. purchase_probabilities, logits: float32 (n,). names: of the sources. seed: of the draw.
    """

    items: Found
    slate: Slate
    candidates: Candidates
    reasons: list[Reason]
    purchase_probabilities: F32
    logits: F32
    names: tuple[str, ...]
    seed: int
    status: Status
    time: int
    by: Manifest


@dataclass(frozen=True, slots=True)
class Similar:
    """Items like an item, most alike first: ids and scores, float32 (k,), and which sources name them."""

    item_ids: list[str]
    scores: F32
    candidates: Candidates
    names: tuple[str, ...]
    by: Manifest


class Recommender:
    """Puts slates together from what a model's retriever proposes and the model ranks."""

    def __init__(self, ranker: Ranker, catalogue: Catalogue) -> None:
        self._ranker = ranker
        self._catalogue = catalogue
        self.known = catalogue.known
        self._known: WeakKeyDictionary[Retriever, tuple[Shelf, int, Traits]] = WeakKeyDictionary()

    def recommend(self, query: RecommendQuery, call: Call) -> Recommendation:
        """A slate for a user. Raises BundleError where the user's model has no sources of candidates."""
        ranker = self._ranker
        model = ranker.model_of(query.user_id)
        retriever = _retriever(model)
        user, version, time = ranker.user(query.user_id, query.time)
        call.mark("features")
        # The model is not told: of users without a history it ranks worse with traits (docs/decisions/0028).
        row = user.row if query.traits is None else told(user.row, query.traits)
        history = retriever.history(row, time)
        mask = self._passing(query, retriever, history, version)
        candidates = retriever.candidates(history, query.candidates, mask)
        call.mark("retrieval")
        wanted = retriever.wanted(candidates.items)
        found = ranker.items.find(wanted, version)
        if found.unknown:
            candidates = candidates.take(_known(retriever, candidates, found))
        call.mark("features")
        purchase, logits, status = ranker.answer(model, query.user_id, user, Asked(user.row, found, time))
        call.mark("inference")
        groups = found.shelf.rows.keys[found.positions[:, None], COLUMNS]
        slate = draw(logits, groups, candidates.items, retriever.tokens, query.rules, query.top_k, query.seed)
        shown = candidates.take(slate.chosen)
        buyers = found.shelf.rows.numbers[found.positions[slate.chosen], BUYERS]
        why = reasons(retriever, history, shown, self._catalogue, buyers)
        call.mark("rules")
        return Recommendation(
            found, slate, shown, why, purchase, logits, retriever.names, query.seed, status, time, model.manifest
        )

    def similar(self, query: SimilarQuery) -> Similar:
        """Items like an item. Raises NotFound for an item that the model's catalogue does not have, and BundleError
        where the model has no source that can tell."""
        model = self._ranker.model_of(query.item_id)
        retriever = _retriever(model)
        if not any(s.form == "neighbours" and s.reason in query.reasons for s in retriever.sources):
            raise BundleError(
                f"{_named(model)} has no source of items that are {' or '.join(query.reasons)}; train again"
            )
        item = retriever.place_of.get(query.item_id)
        if item is None:
            raise NotFound(f"item {query.item_id!r:.300}: not in the catalogue of {_named(model)}")
        found, scores = retriever.neighbours(item, query.reasons, query.top_k)
        ids = [retriever.item_ids[place] for place in found.items.tolist()]
        return Similar(ids, scores, found, retriever.names, model.manifest)

    def _passing(self, query: RecommendQuery, retriever: Retriever, history: History, version: int) -> Mask | None:
        """Which items of the retriever's catalogue may be candidates; None for all."""
        if query.filter is None:
            return None
        return query.filter.passing(self._traits(retriever, version), history.user.history, history.time)

    def _traits(self, retriever: Retriever, version: int) -> Traits:
        """Of the retriever's catalogue, as of that version of the store's items or newer."""
        known = self._known.get(retriever)
        if known is None or known[0] is not self._ranker.items.shelf or known[1] != version:
            shelf = self._ranker.items.find(retriever.every, version).shelf
            known = shelf, version, Traits.of(shelf, retriever.every.on(shelf))
            self._known[retriever] = known
        return known[2]


def _retriever(model: Model) -> Retriever:
    if model.retriever is None:
        raise BundleError(f"{_named(model)} was trained without sources of candidates; train again")
    return model.retriever


def _named(model: Model) -> str:
    return f"model {model.manifest.model} version {model.manifest.version}"


def _known(retriever: Retriever, candidates: Candidates, found: Found) -> npt.NDArray[np.intp]:
    """Which of the candidates were found."""
    unknown = set(found.unknown)
    return np.array(
        [i for i, item in enumerate(candidates.items.tolist()) if retriever.item_ids[item] not in unknown], np.intp
    )
