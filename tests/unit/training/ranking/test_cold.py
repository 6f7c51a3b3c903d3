"""Cold start on a small shop: what is hidden stays hidden, and what is measured is what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from shoprank.cli.app import app
from shoprank.errors import UserError
from tests.world import events, write_world
from training.ranking import cold_users
from training.ranking.cold import Hidden, cold_start
from training.ranking.cold_figures import Tally, slates_of
from training.ranking.cold_items import CategoryRate, new_items
from training.ranking.cold_page import written
from training.ranking.cold_users import few_trips, first_baskets, last_baskets, moment_of, unknown_households
from training.ranking.slate import Week
from training.retrieval.frequency import PersonalFrequency
from training.retrieval.log import PurchaseLog, read_log
from training.retrieval.neighbours import ItemKnn
from training.retrieval.popularity import Popularity
from training.retrieval.traits import TraitPopularity, Traits

ROOT = Path(__file__).parents[4]
CUTOFF = datetime(2024, 5, 6)
CUTOFFS = (CUTOFF, CUTOFF + timedelta(days=14))
KIND = "kind"


def silent(name: str) -> None: ...


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PurchaseLog:
    return read_log(write_world(Path(tmp_path_factory.mktemp("shop")), events()))


def traits_of(log: PurchaseLog) -> Traits:
    """Every second user is of one of two kinds; nothing is told of the others."""
    codes = np.full((log.catalogue.shape[0], 1), -1, np.int32)
    codes[::2, 0] = np.arange(len(codes[::2])) % 2
    return Traits((KIND,), ((KIND, "a"), (KIND, "b")), codes)


@pytest.fixture(autouse=True)
def few_contenders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole blend is slow on any data."""
    few = {cold_users.EVERYBODY: Popularity(), cold_users.PERSONAL: PersonalFrequency(), "item-KNN": ItemKnn()}
    monkeypatch.setattr(cold_users, "BY_HISTORY", few)


def test_of_a_part_only_the_last_baskets_are_known_and_of_the_others_all(log: PurchaseLog) -> None:
    past = log.before(CUTOFF)
    part = Hidden.drawn(log.catalogue.shape[0], seed=0).part == 0
    known = last_baskets(past, part, 2)
    mine, before = known.take(part[known.users]), past.take(part[past.users])
    for user in np.unique(before.users):
        ends = {basket: before.at[before.baskets == basket].max() for basket in before.baskets[before.users == user]}
        assert set(mine.baskets[mine.users == user]) == set(sorted(ends, key=lambda basket: -ends[basket])[:2])
    assert len(known) - len(mine) == int((~part[past.users]).sum())


def test_nothing_an_unknown_household_bought_before_changes_what_it_is_shown(log: PurchaseLog) -> None:
    parts = [Hidden.drawn(log.catalogue.shape[0], seed=0).part == n for n in range(3)]
    everybody = np.arange(log.catalogue.shape[0])
    for part in parts:
        users = everybody[part]
        past = log.before(CUTOFF)
        other = replace(past, items=np.where(part[past.users], past.items[::-1], past.items))
        shown = [
            slates_of(TraitPopularity(traits_of(log)).fit(one.take(~part[one.users])), users) for one in (past, other)
        ]
        np.testing.assert_array_equal(shown[0], shown[1])
    assert (np.sum(parts, axis=0) == 1).all()


def test_what_users_of_a_trait_buy_more_of_rises_for_them_alone(log: PurchaseLog) -> None:
    traits, past = traits_of(log), log.before(CUTOFF)
    item = int(np.bincount(past.items).argsort()[-30])
    of_a = traits.codes[past.users, 0] == 0
    bent = replace(past, items=np.where(of_a & (np.arange(len(past)) % 2 == 0), item, past.items).astype(np.int32))
    scores = TraitPopularity(traits).fit(bent).score(np.array([0, 2, 1]))
    plain = Popularity().fit(bent).score(np.zeros(1, np.int64))[0]
    assert scores[0, item] > scores[2, item] > scores[1, item]
    np.testing.assert_allclose(scores[2, plain > 0], plain[plain > 0], rtol=1e-4)


def test_a_traits_factor_is_its_share_over_the_expected_one(log: PurchaseLog) -> None:
    traits, past = traits_of(log), log.before(CUTOFF)
    lifts = TraitPopularity(traits, prior=5, power=1).lifts(past)
    told = traits.codes[past.users, 0] >= 0
    own = traits.codes[past.users, 0] == 1
    item = int(np.bincount(past.items[told]).argmax())
    expected = (past.items[told] == item).sum() * own.sum() / told.sum()
    bought = (past.items[own] == item).sum()
    assert lifts[1, item] == pytest.approx(np.log((bought + 5) / (expected + 5)), abs=1e-5)


def test_the_first_basket_is_the_first_from_the_cutoff_on(log: PurchaseLog) -> None:
    week = Week.at(log, CUTOFF)
    first = first_baskets(log, week)
    assert set(first.users) == set(week.users)
    for user in week.users:
        later = (log.users == user) & (log.at >= week.log.now)
        assert set(first.baskets[first.users == user]) == {log.baskets[later][log.at[later].argmin()]}


def test_moments_tell_weekends_and_parts_of_the_day() -> None:
    saturday, monday = 2.0, 4.0  # 1970 began on a Thursday
    assert moment_of(np.array([monday, monday + 0.6, monday + 0.95])).tolist() == [0, 1, 3]
    assert moment_of(np.array([saturday, saturday + 1.99])).tolist() == [4, 7]


def test_new_items_are_judged_by_what_is_said_of_them_and_not_by_who_bought_them(log: PurchaseLog) -> None:
    start, now = log.before(CUTOFF).now - 28, log.before(CUTOFF).now
    new = np.isin(log.items, np.sort(np.unique(log.items))[:40])
    young = log.take(~new | (log.at >= start))
    sold = np.isin(young.items, log.items[new]) & (young.at < now)
    other = replace(young, users=np.where(sold, np.int32(0), young.users))
    found, again = (new_items(one, [CUTOFF], 100, silent)["recent"] for one in (young, other))
    count = len(np.unique(young.items[sold]))
    assert found["items"] == [count]
    assert found["contenders"]["at random"]["recall@10"]["mean"] == pytest.approx(10 / count)
    assert found["contenders"]["content"] == again["contenders"]["content"]
    assert 0 < found["contenders"]["content"]["recall@20"]["mean"] < 1


def test_a_subcategorys_rate_is_the_mean_of_its_items(log: PurchaseLog) -> None:
    past = log.before(CUTOFF)
    codes, sold = past.catalogue.codes("subcategory"), past.popularity(28)
    scores = CategoryRate().fit(past).score(np.zeros(1, np.int64))[0]
    for code in np.unique(codes):
        assert scores[codes == code] == pytest.approx(sold[codes == code].mean())


def test_the_whole_result_is_json_with_every_part(log: PurchaseLog) -> None:
    result = json.loads(json.dumps(cold_start(log, CUTOFFS, traits_of(log), resamples=50)))
    assert set(result) == {"protocol", "unknown", "moments", "trips", "items"}
    assert set(result["trips"]) == {"1", "2", "3", "whole"}
    active = sum(len(Week.at(log, cutoff).users) for cutoff in CUTOFFS)
    assert result["moments"]["slates"] == active
    assert 0 < result["unknown"]["slates"] < active
    assert result["items"]["unsold"]["contenders"] == {}  # everything was sold before
    low, high = result["trips"]["1"]["contenders"]["personal frequency"]["ndcg@10"]["interval"]
    assert 0 <= low <= result["trips"]["1"]["contenders"]["personal frequency"]["ndcg@10"]["mean"] <= high


def test_more_trips_tell_more_of_a_household_of_habits(log: PurchaseLog) -> None:
    part = np.ones(log.catalogue.shape[0], np.bool_)
    found = few_trips(log, CUTOFFS, part, (1, 3), 50, silent)
    mine = [found[kept]["contenders"]["personal frequency"]["recall@20"]["mean"] for kept in ("1", "3", "whole")]
    assert mine[0] < mine[1] < mine[2]


def test_users_without_any_trait_told_are_no_unknown_households(log: PurchaseLog) -> None:
    traits = replace(traits_of(log), codes=np.full((log.catalogue.shape[0], 1), -1, np.int32))
    found = unknown_households(log, [CUTOFF], [np.ones(len(traits.codes), np.bool_)], traits, 50, silent)
    assert found == {"slates": 0, "households": 0, "baseline": cold_users.EVERYBODY, "contenders": {}}


def test_differences_are_to_the_baseline_row_by_row() -> None:
    tally = Tally()
    for users, ours, theirs in (([1, 2], [1.0, 0.5], [0.5, 0.5]), ([1], [0.0], [0.5])):
        tally.add(np.array(users), {"ours": {"m": np.array(ours)}, "theirs": {"m": np.array(theirs)}})
    found: dict[str, Any] = tally.figures(100, "theirs")
    assert (found["slates"], found["households"]) == (3, 2)
    assert found["contenders"]["ours"]["m"]["difference"] == pytest.approx(0)
    assert found["contenders"]["theirs"]["m"]["difference_interval"] == [0, 0]


def test_the_page_holds_the_figures_of_the_last_run() -> None:
    page = (ROOT / "docs/cold-start.md").read_text()
    result = json.loads((ROOT / "benchmarks/results/cold-start/cold-start.json").read_text())
    assert written(page, result) == page


def test_the_command_writes_what_the_page_is_written_from(tmp_path: Path) -> None:
    write_world(tmp_path / "data", events())
    run = ["evaluate-cold-start", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--test-weeks", "1"]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 0, done.output
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs/cold-start.md").read_text())
    done = CliRunner().invoke(app, ["cold-start-page", "--results", str(tmp_path / "out"), "--page", str(page)])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out/cold-start.json").read_text())
    assert result["protocol"]["cutoffs"] == ["2024-06-17"]
    assert f"{result['protocol']['households']:,}; of" in page.read_text()


@pytest.mark.parametrize("command", [["evaluate-cold-start"], ["evaluate-ranking"], ["evaluate-retrievers"]])
def test_events_without_a_purchase_are_refused(tmp_path: Path, command: list[str]) -> None:
    write_world(tmp_path / "data", [event for event in events() if event["event_type"] != "purchase"])
    done = CliRunner().invoke(app, [*command, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")])
    assert str(done.exception) == f"{tmp_path / 'data/events'}: no purchase among the events"
    assert not list((tmp_path / "out").glob("*"))


def test_weeks_before_the_first_purchase_are_refused(tmp_path: Path) -> None:
    write_world(tmp_path / "data", events())
    done = CliRunner().invoke(app, ["evaluate-cold-start", "--data", str(tmp_path / "data")])
    assert isinstance(done.exception, UserError)
    assert "nobody bought anything in it who had bought before" in str(done.exception)
