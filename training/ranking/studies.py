"""What is evaluated on data other than the shop's own: who takes part, which settings are tried, which weeks."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from training.ranking.contenders import Contender
from training.retrieval.content import CategoryPopularity, Content
from training.retrieval.factors import Ease, ImplicitAls
from training.retrieval.frequency import PersonalFrequency
from training.retrieval.neighbours import ItemKnn, TifuKnn
from training.retrieval.popularity import Popularity, SegmentPopularity

EASE, ALS, ITEM_KNN, POPULARITY = "EASE", "implicit ALS", "item-KNN", "popularity"
CONTENT, CATEGORY, SEGMENT = "content", "category popularity", "segment popularity"
FREQUENCY, TIFU = "personal frequency", "TIFU-KNN"
BLEND = "blend"


@dataclass(frozen=True)
class Study:
    """An evaluation's settings.

    title: what the page calls the data. contenders: tuned each for itself. blends: by name, the weight of each
    contender, tuned one, in a blend; the names are tried as settings are. repeats: whether slates show what the user
    has. test, validation, train: weeks of each, the last ones of the data; without `train` there is no ranker.
    candidates: of each user, for the ranker.
    """

    name: str
    title: str
    contenders: tuple[Contender, ...]
    blends: dict[str, dict[str, float]]
    repeats: bool
    test: int = 4
    validation: int = 8
    train: int = 8
    candidates: int = 500


_EVERY = {EASE: 1.0, ALS: 1.0, ITEM_KNN: 1.0, POPULARITY: 1.0, SEGMENT: 0.5, CATEGORY: 0.3, CONTENT: 0.5}
_AGES = (inf, 56.0, 28.0, 14.0)

MOVIELENS = Study(
    name="movielens",
    title="MovieLens-100k",
    contenders=(
        Contender(POPULARITY, tuple(Popularity(days) for days in (7.0, 14.0, 28.0, 56.0, inf))),
        Contender(
            ITEM_KNN,
            tuple(ItemKnn(neighbours=k, half_life=days) for k in (10, 20, 50) for days in (inf, 56.0, 14.0)),
        ),
        Contender(EASE, tuple(Ease(l2=l2, half_life=days) for l2 in (20.0, 50.0, 100.0) for days in _AGES)),
        Contender(
            ALS,
            tuple(
                ImplicitAls(factors=factors, alpha=alpha, half_life=days)
                for factors in (4, 8, 16)
                for alpha in (1.0, 5.0)
                for days in (inf, 56.0, 28.0)
            ),
        ),
        Contender(SEGMENT, tuple(SegmentPopularity(half_life=days) for days in (7.0, 14.0, 28.0, 112.0))),
        Contender(CATEGORY, tuple(CategoryPopularity(half_life=days) for days in (84.0, inf))),
        Contender(CONTENT, tuple(Content(blend=blend) for blend in (0.5, 1.0, 1.5, 2.0))),
    ),
    blends={
        "every source": _EVERY,
        "every source, popularity × 4": {**_EVERY, POPULARITY: 4.0},
        "EASE, ALS, item-KNN": {EASE: 1.0, ALS: 1.0, ITEM_KNN: 1.0},
        "EASE, popularity × 0.5": {EASE: 1.0, POPULARITY: 0.5},
        "EASE, popularity × 2": {EASE: 1.0, POPULARITY: 2.0},
        "EASE, popularity × 4": {EASE: 1.0, POPULARITY: 4.0},
        "EASE, content, popularity × 2": {EASE: 1.0, CONTENT: 1.0, POPULARITY: 2.0},
        "content, popularity": {CONTENT: 1.0, POPULARITY: 1.0},
        "EASE, ALS, content, popularity × 4": {EASE: 1.0, ALS: 1.0, CONTENT: 1.0, POPULARITY: 4.0},
    },
    repeats=False,
)

_REPEATED = {FREQUENCY: 2.0, TIFU: 1.0, EASE: 1.0, ITEM_KNN: 1.0, POPULARITY: 0.5}

CLICKSTREAM = Study(
    name="clickstream",
    title="generated clickstream",
    contenders=(
        Contender(POPULARITY, tuple(Popularity(days) for days in (7.0, 28.0, inf))),
        Contender(FREQUENCY, tuple(PersonalFrequency(days) for days in (28.0, 56.0, 112.0, None))),
        Contender(TIFU, (TifuKnn(), TifuKnn(within=1.0, between=0.9, own=0.9), TifuKnn(within=1.0, between=1.0))),
        Contender(ITEM_KNN, tuple(ItemKnn(half_life=days, own=own) for days in (56.0, inf) for own in (1.0, 10.0))),
        Contender(EASE, tuple(Ease(l2=l2, half_life=inf, repeat=own) for l2 in (20.0, 100.0) for own in (1.0, 3.0))),
        Contender(
            ALS,
            tuple(ImplicitAls(factors=n, alpha=a, half_life=inf) for n in (16, 64) for a in (5.0, 20.0)),
        ),
        Contender(CONTENT, tuple(Content(blend=blend) for blend in (0.5, 1.0))),
    ),
    blends={
        "every source": {**_REPEATED, ALS: 0.5, CONTENT: 0.3},
        "without ALS and content": _REPEATED,
        "frequency, popularity": {FREQUENCY: 2.0, POPULARITY: 1.0},
        "frequency, EASE": {FREQUENCY: 2.0, EASE: 1.0},
        "frequency × 4, every source": {**_REPEATED, FREQUENCY: 4.0, ALS: 0.5, CONTENT: 0.3},
    },
    repeats=True,
    validation=2,
    train=4,
    candidates=200,
)

STUDIES = {study.name: study for study in (MOVIELENS, CLICKSTREAM)}
