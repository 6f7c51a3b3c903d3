"""shoprank: purchase probabilities and item rankings for online shops."""

from shoprank.client import AsyncClient, Client
from shoprank.errors import FieldViolation, InvalidRequest, ServerError, ShoprankError, UserError
from shoprank.requests import RankRequest
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

__all__ = [
    "AsyncClient",
    "Client",
    "FeatureState",
    "FeatureStatus",
    "FieldViolation",
    "InvalidRequest",
    "Item",
    "RankRequest",
    "RankedItem",
    "Ranking",
    "ScoredItem",
    "Scores",
    "ServedBy",
    "ServerError",
    "ShoprankError",
    "UserError",
]
