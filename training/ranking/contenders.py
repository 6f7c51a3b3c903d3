"""Who takes part in the ranking evaluation, and which settings of each are tried on the validation weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.ranking.names import PERSONAL, POPULARITY, RECENT
from training.retrieval.content import CategoryPopularity, Content
from training.retrieval.factors import Ease, ImplicitAls
from training.retrieval.frequency import PersonalFrequency
from training.retrieval.generator import Generator
from training.retrieval.neighbours import Association, ItemKnn, TifuKnn, UpCf
from training.retrieval.popularity import Popularity, SegmentPopularity
from training.retrieval.promotion import ExpectedSales, Weighted
from training.retrieval.repeat import RepeatPurchase


@dataclass(frozen=True)
class Contender:
    """A baseline: its name and the settings that are tried; the best NDCG@10 on the validation weeks takes part."""

    name: str
    settings: tuple[Generator, ...]


BASELINES = (
    Contender(POPULARITY, (Popularity(28),)),
    Contender(PERSONAL, (PersonalFrequency(None),)),
    Contender(
        RECENT,
        tuple(PersonalFrequency(days) for days in (42.0, 56.0, 84.0, 112.0, 140.0, 168.0, 224.0)),
    ),
    Contender(
        "TIFU-KNN",
        (
            TifuKnn(),
            TifuKnn(within=1.0, between=0.9, own=0.9),
            TifuKnn(within=0.97, between=0.85, own=0.8),
            TifuKnn(within=1.0, between=0.95, own=0.9),
            TifuKnn(within=1.0, between=0.85, own=0.9),
            TifuKnn(within=1.0, between=0.9, own=0.7),
            TifuKnn(within=1.0, between=0.9, own=0.95),
            TifuKnn(neighbours=100, within=1.0, between=0.9, own=0.9),
        ),
    ),
    Contender("UP-CF", (UpCf(), UpCf(window=50, locality=30))),
    Contender(
        "item-KNN",
        (
            ItemKnn(),
            ItemKnn(neighbours=20, half_life=84, own=3.0),
            ItemKnn(neighbours=20, half_life=112, own=10.0),
            ItemKnn(neighbours=20, half_life=112, own=30.0),
            ItemKnn(neighbours=50, half_life=112, own=10.0),
            ItemKnn(neighbours=10, half_life=112, own=10.0),
            ItemKnn(neighbours=50, shrink=50, half_life=112, own=10.0),
        ),
    ),
    Contender(
        "EASE",
        (
            Ease(),
            Ease(l2=100, repeat=3),
            Ease(l2=20, repeat=3),
            Ease(l2=100, repeat=10),
            Ease(l2=500, repeat=3),
            Ease(l2=500, repeat=10),
            Ease(l2=500, half_life=84, repeat=3),
        ),
    ),
    Contender(
        "implicit ALS",
        (
            ImplicitAls(),
            ImplicitAls(factors=128, alpha=20, regularization=0.5),
            ImplicitAls(alpha=20),
            ImplicitAls(factors=128),
            ImplicitAls(factors=128, alpha=20, regularization=5),
            ImplicitAls(factors=256, alpha=20),
        ),
    ),
)

SOURCES: tuple[tuple[Generator, float], ...] = (
    (RepeatPurchase(), 0.5),
    (PersonalFrequency(84.0), 2.5),
    (TifuKnn(within=0.97, between=0.85, own=0.8), 0.5),
    (ItemKnn(), 1.2),
    (Association(), 0.2),
    (Weighted(ImplicitAls()), 1.2),
    (Weighted(Ease(l2=100)), 0.5),
    (Content(), 0.3),
    (CategoryPopularity(), 0.3),
    (SegmentPopularity(), 0.5),
    (ExpectedSales(), 0.8),
)
"""The generators of the blend, each with its weight."""


def generators() -> Sequence[Generator]:
    """The blend's generators, in order."""
    return [generator for generator, _ in SOURCES]


def weights() -> Sequence[float]:
    """The blend's weights, in the same order."""
    return [weight for _, weight in SOURCES]
