"""A server's slates are judged as those of the ranking evaluation are."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from shoprank.errors import ShoprankError, UserError
from tests.world import END, events, write_world
from training.ranking.names import PERSONAL, POPULARITY, RECENT, SERVED, served_with
from training.ranking.served import Answers, judged, places_of, slates_of, week_of
from training.ranking.served_page import written
from training.ranking.slate import SIZE, Slates, Week, by_generator
from training.retrieval.frequency import PersonalFrequency
from training.retrieval.log import PurchaseLog, read_log
from training.schedule import monday

ROOT = Path(__file__).parents[4]
CUTOFF = datetime(2024, 5, 6)
WITH_ALS = served_with(["als"])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PurchaseLog:
    return read_log(write_world(Path(tmp_path_factory.mktemp("shop")), events()))


@pytest.fixture
def week(log: PurchaseLog) -> Week:
    return week_of(log, CUTOFF)


def answered(slates: Slates, log: PurchaseLog) -> Answers:
    """The ids of slates, as a server gives them."""
    ids = log.catalogue.item_ids
    shown = ids[slates.items].tolist()
    return Answers(shown, ids[slates.explore].tolist(), shown)


def test_ids_come_back_as_positions_in_their_order(log: PurchaseLog, week: Week) -> None:
    slates = by_generator(PersonalFrequency(None), week)
    found = slates_of(answered(slates, log), places_of(log.catalogue))
    np.testing.assert_array_equal(found.items, slates.items)
    np.testing.assert_array_equal(found.explore, slates.explore)


def test_a_short_slate_of_new_products_has_empty_places_and_a_short_whole_one_is_an_error(log: PurchaseLog) -> None:
    whole, short = [f"i{n}" for n in range(SIZE)], ["i3", "i1"]
    found = slates_of(Answers([whole], [short], [whole]), places_of(log.catalogue))
    assert (found.explore[0, 2:] == -1).all()
    with pytest.raises(ShoprankError, match="1 slates of fewer than 20"):
        slates_of(Answers([short], [short], [whole]), places_of(log.catalogue))
    with pytest.raises(ShoprankError, match="catalogue lacks: nope"):
        slates_of(Answers([["nope", *whole[1:]]], [short], [whole]), places_of(log.catalogue))


def test_slates_of_a_baseline_are_worth_as_much_as_the_baseline(log: PurchaseLog, week: Week, tmp_path: Path) -> None:
    result = judged(week, log, {SERVED: answered(by_generator(PersonalFrequency(None), week), log)}, tmp_path, "key")
    assert set(result["contenders"]) == {SERVED, POPULARITY, PERSONAL, RECENT}
    assert result["contenders"][SERVED] == result["contenders"][PERSONAL]
    for found in result["comparisons"][PERSONAL].values():
        assert (found["difference"], found["ratio"]) == (0, 1)
        assert found["difference_interval"] == [0, 0]
    assert result["comparisons"][POPULARITY]["ndcg@10"]["difference_interval"][0] > 0
    assert result["protocol"]["households"] == len(week.users)


def test_slates_of_what_is_bought_are_perfect_and_others_worth_nothing(
    log: PurchaseLog, week: Week, tmp_path: Path
) -> None:
    bought = [week.truth[user].indices for user in week.users]
    others = [np.setdiff1d(np.arange(log.catalogue.shape[1]), one) for one in bought]
    perfect = np.array([[*one, *other][:SIZE] for one, other in zip(bought, others, strict=True)], np.int32)
    worthless = np.array([one[:SIZE] for one in others], np.int32)
    served = {
        SERVED: answered(Slates(perfect, worthless, 0, 0), log),
        WITH_ALS: replace(answered(Slates(worthless, worthless, 0, 0), log), candidates=[["i1"]] * len(perfect)),
    }
    result = judged(week, log, served, tmp_path, "key")
    found = result["contenders"][SERVED]
    assert found["whole"]["ndcg@10"]["mean"] == pytest.approx(1)
    assert found["explore"]["recall@20"]["mean"] == 0
    assert result["comparisons"][WITH_ALS]["ndcg@10"]["difference"] == pytest.approx(1)
    place = log.catalogue.item_ids.tolist().index("i1")
    held = [(place in one) / len(one) for one in bought]
    some = result["candidates"][WITH_ALS]["recall"]
    assert some["mean"] == pytest.approx(np.mean(held))
    assert some["difference"] == pytest.approx(np.mean(held) - result["candidates"][SERVED]["recall"]["mean"])
    assert result["candidates"][SERVED]["recall"]["difference_interval"] == [0, 0]


def test_candidates_hold_shares_of_what_was_had_and_of_what_was_new(
    log: PurchaseLog, week: Week, tmp_path: Path
) -> None:
    owned = [log.catalogue.item_ids[week.owned[user].indices].tolist() for user in week.users]
    shown = replace(answered(by_generator(PersonalFrequency(None), week), log), candidates=owned)
    found = judged(week, log, {SERVED: shown}, tmp_path, "key")["candidates"][SERVED]
    assert (found["of_repeats"]["mean"], found["of_new"]["mean"]) == (1, 0)
    assert 0 < found["recall"]["mean"] < 1


def test_places_with_what_a_household_has_are_counted(log: PurchaseLog, week: Week, tmp_path: Path) -> None:
    slates = by_generator(PersonalFrequency(None), week)

    def owned(shown: Slates) -> int:
        found = judged(week, log, {SERVED: answered(shown, log)}, tmp_path, "key")["protocol"]["explore_places_owned"]
        return int(found)

    assert owned(slates) == 0
    explore = slates.explore.copy()
    explore[0, :3] = week.owned[week.users[0]].indices[:3]
    assert owned(replace(slates, explore=explore)) == 3


def test_a_moment_without_a_snapshot_and_a_week_that_is_not_over_are_refused(log: PurchaseLog) -> None:
    with pytest.raises(UserError, match="midnight of a Monday"):
        week_of(log, CUTOFF + timedelta(days=1))
    with pytest.raises(UserError, match="before the 7 days after it are over"):
        week_of(log, datetime(9999, 12, 27))
    with pytest.raises(UserError, match="before the 7 days after it are over"):
        week_of(log, monday(END))


def test_the_page_holds_the_figures_of_the_last_run() -> None:
    page = (ROOT / "docs/recommendations.md").read_text()
    result = json.loads((ROOT / "benchmarks/results/served/served.json").read_text())
    assert written(page, result) == page
