"""What a ranker is judged by on the weeks before the tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit

from shoprank.cli.ranking import Record
from shoprank.errors import UserError
from training.ranking.contenders import BASELINES
from training.ranking.network import Network
from training.ranking.rows import Rows
from training.ranking.slate import Week
from training.ranking.tried import CROSSED, GROWN, RECORDS, REFERENCE, TRIED
from training.ranking.validation import Judges, split
from training.ranking.weeks import Weeks
from training.retrieval.log import F64, Catalogue, PurchaseLog

USERS, ITEMS = 200, 50


def judges(factor: float) -> tuple[Judges, list[F64]]:
    """A week of purchases drawn from true log-odds, and log-odds that are `factor` times as likely."""
    rng = np.random.default_rng(0)
    true = rng.normal(-2, 1, (USERS, ITEMS))
    truth = sp.csr_matrix(rng.random(true.shape) < expit(true)).astype(np.float32)
    nothing = sp.csr_matrix(truth.shape, dtype=np.float32)
    empty = np.zeros(0, np.int32)
    catalogue = Catalogue(np.arange(USERS).astype(object), np.arange(ITEMS).astype(object), np.arange(ITEMS), {})
    log = PurchaseLog(catalogue, empty, empty, empty, np.zeros(0), 0.0)
    week = Week(datetime(2024, 1, 1), log, np.arange(USERS), truth, truth, nothing)
    wanted = np.diff(truth.indptr).astype(np.int64)
    rows = Rows(
        week.cutoff,
        week.users,
        np.tile(np.arange(ITEMS, dtype=np.int32), (USERS, 1)),
        truth.toarray() > 0,
        np.zeros(truth.shape, np.bool_),
        wanted,
        wanted,
        np.zeros((USERS * ITEMS, 0), np.float32),
        np.zeros((USERS * ITEMS, 0), np.int64),
    )
    return Judges((rows,), (week,), (0.0,)), [true.ravel() + np.log(factor)]


def judged(shift: float, is_calibrated: bool = True) -> dict[str, float]:
    """Judgement of two weeks alike, of log-odds that are half as likely as they should be."""
    one, scores = judges(0.5)
    two = Judges(one.rows * 2, one.weeks * 2, (shift,) * 2)
    accuracy = two.accuracy(scores * 2)
    assert {len(values) for values in accuracy.values()} == {2 * USERS}
    means = {name: float(values.mean()) for name, values in accuracy.items()}
    return means | two.discrimination(scores * 2, is_calibrated)


def test_a_shift_to_the_level_mends_probabilities_and_leaves_the_order() -> None:
    found, unmoved = judged(np.log(2)), judged(0.0)
    assert found["calibration_over_base"] == pytest.approx(unmoved["calibration_over_base_shifted"])
    assert found["calibration_over_base"] > 0.3
    assert found["calibration_over_base_shifted"] < 0.1
    assert found["log_loss_shifted"] < found["log_loss"]
    for name in ("ndcg@10", "recall@20", "roc_auc", "pr_auc"):
        assert found[name] == unmoved[name]
    assert found["ndcg@10"] > judgement_of_chance()


def judgement_of_chance() -> float:
    """The share of items that are bought: NDCG@10 of a random order lies about there."""
    return float(expit(np.random.default_rng(0).normal(-2, 1, (USERS, ITEMS))).mean())


def test_what_was_not_calibrated_is_not_shifted() -> None:
    assert "log_loss_shifted" not in judged(0.0, is_calibrated=False)


def test_settings_and_rankers_that_are_tried_have_distinct_names_and_members_come_before() -> None:
    for contender in BASELINES:
        assert len(set(map(str, contender.settings))) == len(contender.settings)
    assert TRIED[0] == CROSSED[0] == REFERENCE
    for tried in RECORDS.values():
        names = [ranker.name for ranker in tried]
        assert len(set(names)) == len(names)
        for n, ranker in enumerate(tried):
            assert set(ranker.members) <= set(names[:n])
            assert not ranker.teacher or ranker.teacher in names[:n]


def test_weeks_that_judge_come_after_those_that_rankers_learn_from() -> None:
    weeks = Weeks.before((datetime(2017, 10, 30),), train=8, validation=1)
    learned, calibrated, judged = split(weeks)
    every = [*learned, calibrated, *judged]
    assert every == sorted(set(every))
    assert (len(learned), len(judged)) == (5, 3)
    assert judged[-1] + timedelta(days=7) == datetime(2017, 10, 30)
    with pytest.raises(UserError, match="4 weeks before the tests: at least 5 are needed"):
        split(Weeks.before((datetime(2017, 10, 30),), train=3, validation=1))


def test_each_week_is_shifted_to_its_own_level() -> None:
    """Log-odds of one week are half as likely as they should be, of the other twice: each has its own shift."""
    low, high = (judges(factor) for factor in (0.5, 2.0))
    both = Judges(low[0].rows + high[0].rows, low[0].weeks + high[0].weeks, (np.log(2), -np.log(2)))
    found = both.discrimination([*low[1], *high[1]], is_calibrated=True)
    assert found["calibration_over_base"] > 0.3
    assert found["calibration_over_base_shifted"] < 0.1


def test_what_networks_are_given_more_is_held_against_the_one_that_others_are_tried_beside() -> None:
    plain, *more = GROWN
    assert plain in TRIED
    without = [replace(r.how, cross=0, history=None) for r in more if isinstance(r.how, Network)]
    assert without == [plain.how] * len(more)


def test_the_command_offers_every_record() -> None:
    assert [*Record] == [*RECORDS]
