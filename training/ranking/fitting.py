"""Fits rankers one after another on the same lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from training.encoding import Encoding, fit_normalization, fit_vocabulary
from training.ranking.arrays import write_arrays
from training.ranking.kept import Kept
from training.ranking.lists import Lists, narrow
from training.ranking.network import Ensemble, Network, Scores
from training.ranking.past import PastBlock
from training.ranking.ranker import Model, Ranker
from training.retrieval.log import F64
from training.shards import RANKING, Columns

MIN_COUNT = 100
SAMPLE = 200_000
CALENDAR = "ctx_"
"""How columns of the moment begin. A few training weeks show a few values of them, so that a ranker fitted on those
extrapolates; it is not shown them."""
Stage = Callable[[str], None]


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
    stage: Stage = lambda name: None,
    kept: Kept | None = None,
) -> Iterator[tuple[Ranker, Model, float]]:
    """Fit each on the same lists, yielding it with the seconds it took, its members' included and its teacher's not.

    given: models that are trained already, with their seconds, by the name of their ranker. kept: where what was fitted
    is kept, and read if it is there.
    """
    named = {ranker.name: ranker for ranker in rankers}
    work = _Fitting(named, train, validation, columns, kept, dict(given))
    asked = Scores(validation.block)
    for ranker in rankers:
        if ranker.name not in given:
            stage(ranker.name)
            parts = [work.fit(ranker, seed) for seed in ranker.seeds]
            parts += [work.fitted[name] for name in ranker.members]
            start = perf_counter()
            models = tuple(model for model, _ in parts)
            weights = (*(1.0 for _ in ranker.seeds), *ranker.members.values())
            model = models[0] if ranker.how and len(models) == 1 else Ensemble.of(models, weights, asked)
            work.fitted[ranker.name] = model, perf_counter() - start + sum(seconds for _, seconds in parts)
        yield ranker, *work.fitted[ranker.name]


@dataclass(frozen=True)
class _Fitting:
    """What rankers are fitted on, and those that are fitted."""

    rankers: Mapping[str, Ranker]
    train: Lists
    validation: Lists
    columns: Columns
    kept: Kept | None
    fitted: dict[str, tuple[Model, float]]
    encodings: dict[tuple[str, bool], Encoding] = field(default_factory=dict)
    answers: dict[str, F64] = field(default_factory=dict)

    def fit(self, ranker: Ranker, seed: int) -> tuple[Model, float]:
        """The ranker of a seed, and the seconds that fitting it took, or did when it was kept."""
        assert ranker.how is not None
        encoding, (train, validation) = self._encoding(ranker), self._lists(ranker)
        path = self.kept.path(*self._recipe(ranker), seed) if self.kept else None
        if path and path.is_file():
            with np.load(path) as arrays:
                model, seconds = ranker.how.restored(arrays, train, encoding, seed), float(arrays["seconds"])
        else:
            answers = self._taught(ranker)
            start = perf_counter()
            model = ranker.how.fit(train, validation, encoding, seed, **answers)
            seconds = perf_counter() - start
            if path:
                write_arrays(path, seconds=np.array(seconds), **model.arrays())
        return (Narrowed(model) if ranker.columns == "schema" else model), seconds

    def _lists(self, ranker: Ranker) -> tuple[Lists, Lists]:
        """What the ranker is shown of both."""
        both = self.train, self.validation
        if ranker.by_user:
            both = both[0].weighted(ranker.by_user), both[1].weighted(ranker.by_user)
        if ranker.columns == "schema":
            first, second = (replace(lists, block=narrow(lists.block, RANKING)) for lists in both)
            both = first, second
        return both

    def _encoding(self, ranker: Ranker) -> Encoding:
        key = ranker.columns, ranker.calendar
        if key not in self.encodings:
            columns = RANKING if ranker.columns == "schema" else self.columns
            self.encodings[key] = encoding_of(self.train, columns, ranker.calendar)
        return self.encodings[key]

    def _taught(self, ranker: Ranker) -> dict[str, F64]:
        """The teacher's answers as an argument; none where there is no teacher."""
        if not ranker.teacher:
            return {}
        assert isinstance(ranker.how, Network)
        if ranker.teacher not in self.answers:
            self.answers[ranker.teacher] = self.fitted[ranker.teacher][0].score(self.train.block)
        return {"answers": self.answers[ranker.teacher]}

    def _recipe(self, ranker: Ranker) -> tuple[object, ...]:
        """All that a seed of the ranker is fitted by but for the lists."""
        teacher = self.rankers[ranker.teacher] if ranker.teacher else None
        taught = (teacher.seeds, *self._recipe(teacher)) if teacher else ()
        return self.columns, ranker.how, ranker.columns, ranker.calendar, ranker.by_user, taught


def encoding_of(train: Lists, columns: Columns, calendar: bool = False) -> Encoding:
    """Normalization and vocabulary of the training lists; columns of the moment are constants without `calendar`."""
    block = narrow(train.block, columns)
    some = np.random.default_rng(0).permutation(len(block))[:SAMPLE]
    sample = block.numeric[some]
    if not calendar:
        sample[:, [name.startswith(CALENDAR) for name in columns.numeric]] = 0
    counts: list[Counter[Any]] = [Counter(column.tolist()) for column in block.categorical.T]
    return Encoding(columns, fit_normalization(sample), fit_vocabulary(counts, columns, MIN_COUNT))
