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

_MODULES = ("errors", "requests", "results", "slates", "client")
"""Where the names are, those that need no grpcio first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
