"""The rankers that are held against each other: one change at a time from the plain MLP, and LightGBM beside them.

The model of the training set is the exception: it is what `shoprank train` makes, taught by trees of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from training.encoding import Encoding, fit_normalization, fit_vocabulary
from training.model import Architecture
from training.ranking.lists import Lists, narrow
from training.ranking.names import (
    CHAMPION,
    LAMBDARANK,
    LAMBDARANKS,
    LIGHTGBM,
    LIGHTGBM_HOUSEHOLDS,
    LISTWISE,
    LISTWISE_HOUSEHOLDS,
    LISTWISES_HOUSEHOLDS,
    MLPS,
    PAIRWISE,
    PIECEWISE,
    PLAIN,
    RETRIEVAL,
    STORED,
    TAUGHT,
    WIDE,
)
from training.ranking.network import Ensemble, Network
from training.ranking.past import PastBlock
from training.ranking.trees import Trees
from training.retrieval.log import F64
from training.shards import RANKING, Columns

MIN_COUNT = 100
SAMPLE = 200_000
CALENDAR = "ctx_"
"""How columns of the moment begin. A few training weeks show a few values of them, so that a ranker fitted on those
extrapolates; it is not shown them."""


class Model(Protocol):
    """A fitted ranker."""

    def score(self, block: PastBlock) -> F64:
        """Scores (n,), log-odds unless the ranker orders only."""
        ...


@dataclass(frozen=True)
class Ranker:
    """A way to train a ranker.

    how: its settings, None for an ensemble of earlier ones alone and for a model that is given. columns: `schema` for
    the stored features, `all` for those of retrieval and the item's own key too. seeds: of what is trained beyond the
    members. members: earlier rankers whose scores are averaged with them and calibrated, by name, and how much each
    counts beside one of a seed. calendar: whether columns of the moment are shown. teacher: name of an earlier ranker
    that a network learns from beside the labels. by_user: power of 1 / purchases of the user by which its rows weigh in
    what is learned (`Lists.weighted`).
    """

    name: str
    how: Network | Trees | None
    columns: str = "all"
    seeds: tuple[int, ...] = (0,)
    members: Mapping[str, float] = field(default_factory=dict)
    calendar: bool = False
    teacher: str = ""
    by_user: float = 0.0

    def __post_init__(self) -> None:
        if self.by_user and isinstance(self.how, Network) and self.how.loss == "pairwise":
            raise ValueError(f"{self.name}: a loss of pairs takes no weights")

    @property
    def is_log_odds(self) -> bool:
        """Whether its scores are: not those that order only, nor those of rows that weigh differently, which are the
        log-odds of another population."""
        orders = isinstance(self.how, Trees) and self.how.objective == "lambdarank"
        return bool(self.members) or not (orders or self.by_user)

    @property
    def is_calibrated(self) -> bool:
        """Whether its log-odds take over the level of the validation weeks: those of trees and given models do not."""
        return isinstance(self.how, Network) or bool(self.members)


BINS = 8
"""Of each number's piecewise-linear encoding, in the rankers that have one."""
WIDE_LAYERS = Architecture(hidden=(256, 64), dropout=0.1, category_width=4)

BINNED_NETWORK = Network(WIDE_LAYERS, bins=BINS)
TAUGHT_NETWORK = Network(WIDE_LAYERS, bins=BINS, epochs=6, learning_rate=4e-3, teacher=0.7)
LIST_NETWORK = replace(TAUGHT_NETWORK, loss="listwise", teacher=0.5)
HOUSEHOLD_NETWORK = replace(TAUGHT_NETWORK, loss="listwise", share=0.1)
TREES = Trees("binary", 63, 0.03, 800)
LIST_TREES = Trees("lambdarank", 63, 0.03, 800, 100)

RANKERS = (
    Ranker(STORED, None, columns="schema", seeds=()),
    Ranker(PLAIN, Network(), columns="schema"),
    Ranker(RETRIEVAL, Network()),
    Ranker(WIDE, Network(WIDE_LAYERS)),
    Ranker(PIECEWISE, BINNED_NETWORK),
    Ranker(LIGHTGBM, TREES),
    Ranker(TAUGHT, TAUGHT_NETWORK, teacher=LIGHTGBM),
    Ranker(LISTWISE, LIST_NETWORK, teacher=LIGHTGBM),
    Ranker(PAIRWISE, replace(TAUGHT_NETWORK, loss="pairwise"), teacher=LIGHTGBM),
    Ranker(MLPS, TAUGHT_NETWORK, seeds=(1, 2, 3), members={TAUGHT: 1}, teacher=LIGHTGBM),
    Ranker(LAMBDARANK, LIST_TREES),
    Ranker(LAMBDARANKS, LIST_TREES, seeds=(1, 2), members={LAMBDARANK: 1}),
    Ranker(LIGHTGBM_HOUSEHOLDS, TREES, by_user=1),
    Ranker(LISTWISE_HOUSEHOLDS, HOUSEHOLD_NETWORK, teacher=LIGHTGBM_HOUSEHOLDS, by_user=1),
    Ranker(
        LISTWISES_HOUSEHOLDS,
        HOUSEHOLD_NETWORK,
        seeds=(1, 2),
        members={LISTWISE_HOUSEHOLDS: 1},
        teacher=LIGHTGBM_HOUSEHOLDS,
        by_user=1,
    ),
    Ranker(
        CHAMPION,
        None,
        seeds=(),
        members={MLPS: 1, LISTWISES_HOUSEHOLDS: 2, LIGHTGBM_HOUSEHOLDS: 1, LAMBDARANKS: 1},
    ),
)


@dataclass(frozen=True)
class Narrowed:
    """A ranker that sees the first columns of a block alone, those of `columns`."""

    model: Any
    columns: Columns = field(default=RANKING)

    def score(self, block: PastBlock) -> F64:
        """Scores (n,)."""
        found: F64 = self.model.score(narrow(block, self.columns))
        return found


def fit_rankers(
    rankers: Sequence[Ranker],
    train: Lists,
    validation: Lists,
    columns: Columns,
    given: Mapping[str, tuple[Model, float]],
    stage: Callable[[str], None] = lambda name: None,
) -> Iterator[tuple[Ranker, Model, float]]:
    """Fit each on the same lists, yielding it with the seconds it took, its members' included and its teacher's not.

    given: models that are trained already, with their seconds, by the name of their ranker.
    """
    shown = {"all": columns, "schema": RANKING}
    encodings: dict[tuple[str, bool], Encoding] = {}
    fitted = dict(given)
    answers: dict[str, F64] = {}
    for ranker in rankers:
        if ranker.name in given:
            yield ranker, *given[ranker.name]
            continue
        stage(ranker.name)
        start = perf_counter()
        key = (ranker.columns, ranker.calendar)
        if key not in encodings:
            encodings[key] = encoding_of(train, shown[ranker.columns], ranker.calendar)
        if ranker.teacher and ranker.teacher not in answers:
            answers[ranker.teacher] = fitted[ranker.teacher][0].score(train.block)
        taught = answers.get(ranker.teacher)
        models = [_fit(ranker, train, validation, encodings[key], seed, taught) for seed in ranker.seeds]
        models += [fitted[name][0] for name in ranker.members]
        weights = (*(1.0 for _ in ranker.seeds), *ranker.members.values())
        model = models[0] if ranker.how and len(models) == 1 else Ensemble.of(tuple(models), weights, validation)
        seconds = perf_counter() - start + sum(fitted[name][1] for name in ranker.members)
        fitted[ranker.name] = (model, seconds)
        yield ranker, model, seconds


def _fit(
    ranker: Ranker, train: Lists, validation: Lists, encoding: Encoding, seed: int, answers: F64 | None = None
) -> Model:
    assert ranker.how is not None
    if ranker.by_user:
        train, validation = train.weighted(ranker.by_user), validation.weighted(ranker.by_user)
    if answers is not None:
        assert isinstance(ranker.how, Network)
        assert ranker.columns == "all"
        return ranker.how.fit(train, validation, encoding, seed, answers)
    if ranker.columns == "all":
        return ranker.how.fit(train, validation, encoding, seed)
    few = [replace(lists, block=narrow(lists.block, RANKING)) for lists in (train, validation)]
    return Narrowed(ranker.how.fit(few[0], few[1], encoding, seed))


def encoding_of(train: Lists, columns: Columns, calendar: bool = False) -> Encoding:
    """Normalization and vocabulary of the training lists; columns of the moment are constants without `calendar`."""
    block = narrow(train.block, columns)
    some = np.random.default_rng(0).permutation(len(block))[:SAMPLE]
    sample = block.numeric[some]
    if not calendar:
        sample[:, [name.startswith(CALENDAR) for name in columns.numeric]] = 0
    counts: list[Counter[Any]] = [Counter(column.tolist()) for column in block.categorical.T]
    return Encoding(columns, fit_normalization(sample), fit_vocabulary(counts, columns, MIN_COUNT))
