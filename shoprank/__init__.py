"""shoprank: purchase probabilities and item rankings for online shops."""

from shoprank.client import AsyncClient, Client
from shoprank.errors import FieldViolation, InvalidRequest, ServerError, ShoprankError, UserError
from shoprank.requests import ItemFilter, RankRequest
from shoprank.results import (
    FeatureState,
    FeatureStatus,
    Item,
    RankedItem,
    Ranking,
    ScoredItem,
    Scores,
    ServedBy,
)
from shoprank.slates import Likeness, Reason, ReasonKind, RecommendedItem, SimilarItem, Slate, SlateRules

__all__ = [
    "AsyncClient",
    "Client",
    "FeatureState",
    "FeatureStatus",
    "FieldViolation",
    "InvalidRequest",
    "Item",
    "ItemFilter",
    "Likeness",
    "RankRequest",
    "RankedItem",
    "Ranking",
    "Reason",
    "ReasonKind",
    "RecommendedItem",
    "ScoredItem",
    "Scores",
    "ServedBy",
    "ServerError",
    "ShoprankError",
    "SimilarItem",
    "Slate",
    "SlateRules",
    "UserError",
]
