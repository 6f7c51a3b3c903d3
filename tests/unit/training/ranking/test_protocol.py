"""Test weeks follow from the data, and where nobody takes an item again nobody is shown what they have."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
import scipy.sparse as sp

from shoprank.errors import UserError
from training.ranking.protocol import last_weeks
from training.ranking.slate import Slates, Week, by_generator, measured
from training.ranking.weeks import Weeks
from training.retrieval.log import Catalogue, PurchaseLog
from training.retrieval.popularity import Popularity


def log() -> PurchaseLog:
    """One user who took items 0 to 4, all of them popular; nobody took items 5 to 29."""
    names = np.arange(30).astype(str).astype(object)
    catalogue = Catalogue(names[:1], names, np.arange(30, dtype=np.int64), {})
    items = np.arange(5, dtype=np.int32)
    zeros = np.zeros(5, np.int32)
    return PurchaseLog(catalogue, zeros, items, zeros, np.full(5, 10.0), 11.0)


def week(repeats: bool) -> Week:
    truth = sp.csr_matrix(([1.0, 1.0], ([0, 0], [0, 7])), (1, 30), dtype=np.float32)
    new = sp.csr_matrix(([1.0], ([0], [7])), (1, 30), dtype=np.float32)
    past = log()
    return Week(datetime(1970, 1, 12), past, np.zeros(1, np.int64), truth, new, past.owned(), repeats)


def slates() -> Slates:
    return by_generator(Popularity(28), week(repeats=True))


def test_the_last_weeks_are_mondays_whose_windows_are_complete() -> None:
    last = datetime(1998, 4, 22, 23, 10)
    assert last_weeks(datetime(1998, 4, 1), last, 2) == (datetime(1998, 4, 6), datetime(1998, 4, 13))
    with pytest.raises(UserError, match="at least 1"):
        last_weeks(datetime(1998, 4, 1), last, 0)


@pytest.mark.parametrize("count", [3, 99_999_999])
def test_more_test_weeks_than_the_events_have_are_refused(count: int) -> None:
    with pytest.raises(UserError, match=f"{count} test weeks: the events from .* have 2 whole ones"):
        last_weeks(datetime(1998, 3, 30), datetime(1998, 4, 22), count)


def test_weeks_before_all_time_are_refused() -> None:
    with pytest.raises(UserError, match="99999999 weeks to train on and 1 to validate: there are not so many before"):
        Weeks.before((datetime(2017, 12, 4),), train=99_999_999, validation=1)


def test_without_repeats_a_slate_holds_nothing_that_is_owned() -> None:
    found = slates()
    assert set(week(repeats=True).shown(found)[0]) >= set(range(5))
    assert not set(week(repeats=False).shown(found)[0]) & set(range(5))


def test_metrics_are_those_of_what_is_shown() -> None:
    found = slates()
    whole, _ = measured(found, week(repeats=True))
    assert whole["mrr@10"][0] == 1.0
    without, _ = measured(found, week(repeats=False))
    assert without["mrr@10"][0] < 1.0
