"""shoprank: purchase probabilities and item rankings for online shops.

What is exported is imported when it is first asked for: the command line sets what gRPC's core reads of the environment
before that is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "shoprank.client": ("AsyncClient", "Client"),
    "shoprank.errors": ("FieldViolation", "InvalidRequest", "ServerError", "ShoprankError", "UserError"),
    "shoprank.requests": ("ItemFilter", "RankRequest"),
    "shoprank.results": (
        "FeatureState", "FeatureStatus", "Item", "RankedItem", "Ranking", "ScoredItem", "Scores", "ServedBy",
    ),
    "shoprank.slates": (
        "Likeness", "Reason", "ReasonKind", "RecommendedItem", "SimilarItem", "Slate", "SlateRules",
    ),
}  # fmt: skip
_MODULE = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
