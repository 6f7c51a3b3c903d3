"""What each method asks of its caller. A method that is not in this table is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

from server.methods import Method


class Role(StrEnum):
    """What a caller may do. Roles are independent: none contains another."""

    score = "score"
    feedback = "feedback"
    admin = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. name: kind and name, such as `key:shop-web`. expires: seconds since 1970 from which it is void."""

    name: str
    roles: frozenset[Role]
    expires: float = inf


ANYBODY: Final = Principal("", frozenset(Role))
"""The caller where nobody is asked who they are."""

V2 = "/inference.GRPCInferenceService"

REQUIRED: Mapping[str, Role | None] = {
    "/shoprank.v1.RankingService/ScoreItems": Role.score,
    "/shoprank.v1.RankingService/RankItems": Role.score,
    "/shoprank.v1.RankingService/BatchRankItems": Role.score,
    "/shoprank.v1.RankingService/StreamRankItems": Role.score,
    "/shoprank.v1.RecommendationService/RecommendItems": Role.score,
    "/shoprank.v1.RecommendationService/SimilarItems": Role.score,
    "/shoprank.v1.CatalogService/GetItems": Role.score,
    "/shoprank.v1.ModelService/*": Role.admin,
    "/shoprank.v1.FeedbackService/*": Role.feedback,
    f"{V2}/ServerLive": None,
    f"{V2}/ServerReady": None,
    f"{V2}/ModelReady": None,
    f"{V2}/ServerMetadata": Role.score,
    f"{V2}/ModelMetadata": Role.score,
    f"{V2}/ModelInfer": Role.score,
    "/grpc.health.v1.Health/*": None,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Role.admin,
}
"""Role by method, `/package.Service/Name`, or by all methods of a service, `/package.Service/*`; None: open to all."""


def is_known(method: Method) -> bool:
    """Whether the table has an entry for the method."""
    return _entry(method) in REQUIRED


def required(method: Method) -> Role | None:
    """The role the method asks for, None where it is open to all. Raises KeyError where the table has no entry."""
    return REQUIRED[_entry(method)]


def _entry(method: Method) -> str:
    return method.path if method.path in REQUIRED else f"/{method.service}/*"
