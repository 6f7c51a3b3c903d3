"""Studies: slates without what the user has, blends as generators, weeks from the data's own dates."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import pytest

from shoprank.errors import UserError
from training.dataset.labels import epoch
from training.ranking.names import CHAMPION
from training.ranking.studies import EASE, MOVIELENS, STUDIES
from training.ranking.study import champion_and_members, weeks_of
from training.retrieval.factors import Ease
from training.retrieval.fused import Fused
from training.retrieval.generator import top
from training.retrieval.log import DAY, Catalogue, PurchaseLog
from training.retrieval.popularity import Popularity
from training.retrieval.unowned import Unowned

FIRST = datetime(2024, 1, 1)


def log_of(days: float, users: int = 20, items: int = 40, purchases: int = 400) -> PurchaseLog:
    """Random purchases over so many days."""
    rng = np.random.default_rng(0)
    names = np.array([f"i{n}" for n in range(items)], object)
    catalogue = Catalogue(np.array([f"u{n}" for n in range(users)], object), names, np.arange(items), {})
    at = np.sort(epoch(FIRST) / DAY + rng.random(purchases) * days)
    user = rng.integers(0, users, purchases).astype(np.int32)
    item = rng.integers(0, items, purchases).astype(np.int32)
    return PurchaseLog(catalogue, user, item, np.arange(purchases, dtype=np.int32), at, float(at.max()) + 1)


def test_nothing_that_the_user_has_is_shown_and_the_rest_keeps_its_score() -> None:
    log, users = log_of(60), np.arange(20)
    plain, without = (g.fit(log).score(users) for g in (Ease(), Unowned(Ease())))
    owned = log.owned().toarray() > 0
    assert np.isneginf(without[owned]).all()
    assert np.array_equal(without[~owned], plain[~owned])


def test_a_blend_ranks_as_its_candidates_do() -> None:
    log, users = log_of(60), np.arange(20)
    fitted = Fused("both", ((Ease(), 1.0), (Popularity(28), 0.5)), count=15).fit(log)
    scores = fitted.score(users)
    assert np.array_equal(top(scores, 15), fitted.blend.candidates(users, 15).items)
    assert ((scores > 0).sum(1) == 15).all()


def test_a_blend_of_one_source_is_that_source() -> None:
    log, users = log_of(60), np.arange(20)
    alone = Unowned(Ease())
    blended = Fused("alone", ((alone, 1.0),)).fit(log)
    listed = alone.fit(log).score(users)
    positive = (np.sort(listed, 1)[:, -5:] > 0).all(1)
    assert positive.any()
    assert np.array_equal(top(blended.score(users), 5)[positive], top(listed, 5)[positive])


def test_test_weeks_are_the_last_whole_ones() -> None:
    weeks = weeks_of(log_of(29 * 7), MOVIELENS)  # whose last purchase is on Sunday the 21st
    assert weeks.test[-1] == datetime(2024, 7, 8)
    assert [len(part) for part in (weeks.train, weeks.validation, weeks.test)] == [8, 8, 4]
    every = (*weeks.train, *weeks.validation, *weeks.test)
    assert {(b - a).days for a, b in pairwise(every)} == {7}


def test_data_too_short_for_the_weeks_is_refused() -> None:
    with pytest.raises(UserError, match="the first cutoff of the study movielens"):
        weeks_of(log_of(60), MOVIELENS)
    assert weeks_of(log_of(60), replace(MOVIELENS, validation=2, train=1))


def test_a_champion_comes_after_all_it_is_made_of() -> None:
    names = [ranker.name for ranker in champion_and_members()]
    assert names[-1] == CHAMPION
    for n, ranker in enumerate(champion_and_members()):
        assert set(ranker.members) <= set(names[:n])


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_a_study_blends_its_own_contenders_and_tries_no_setting_twice(study: object) -> None:
    assert isinstance(study, type(MOVIELENS))
    names = {contender.name for contender in study.contenders}
    assert EASE in names
    assert all(set(weights) <= names for weights in study.blends.values())
    assert all(len(set(map(str, c.settings))) == len(c.settings) for c in study.contenders)
