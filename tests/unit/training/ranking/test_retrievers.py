"""Retrievers are judged on a week before the tests, by lists that are fused as the blend fuses them."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from feature_repo.paths import DataPaths
from shoprank.errors import UserError
from tests.world import events, write_world
from training.ranking.judge import Judge
from training.ranking.retriever_tables import TABLES, written
from training.ranking.retrievers import DEPTH, Lists, Retriever, blended, evaluate_retrievers, fused, listed
from training.ranking.slate import Week
from training.retrieval.blend import fit_blend
from training.retrieval.frequency import PersonalFrequency
from training.retrieval.generator import Generator
from training.retrieval.log import read_log
from training.retrieval.neighbours import ItemKnn
from training.retrieval.popularity import Popularity
from training.retrieval.tower_training import Fit
from training.retrieval.two_tower import TwoTower

ROOT = Path(__file__).parents[4]
CUTOFF = datetime(2024, 5, 6)
TINY = Retriever("towers", TwoTower(length=16, width=8, training=Fit(weeks=4, epochs=1, batch=32, even=32)))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    return write_world(Path(tmp_path_factory.mktemp("shop")), events())


@pytest.fixture(scope="module")
def week(paths: DataPaths) -> Week:
    return Week.at(read_log(paths), CUTOFF)


def cut(lists: Lists, k: int) -> Lists:
    """The first k of each list."""
    return Lists(lists.whole[:, :k], lists.unowned[:, :k])


def test_lists_are_fused_as_the_blend_fuses_them(week: Week) -> None:
    generators: list[Generator] = [PersonalFrequency(84.0), ItemKnn(neighbours=10), Popularity()]
    weights = [1.0, 2.0, 0.5]
    own = [(listed(g.fit(week.log), week).whole, w) for g, w in zip(generators, weights, strict=True)]
    expected = fit_blend(week.log, generators, weights).candidates(week.users, 40).items
    np.testing.assert_array_equal(blended(own, week).whole[:, :40], expected)


def test_recall_is_the_share_of_what_was_bought_that_is_listed(week: Week) -> None:
    lists = cut(listed(Popularity().fit(week.log), week), 20)
    found = lists.judged(Judge.of(week, 10))
    user = week.users[3]
    bought, new = set(week.truth[user].indices.tolist()), set(week.new[user].indices.tolist())
    shown = set(lists.whole[3].tolist())
    assert found["whole"][3] == pytest.approx(len(bought & shown) / len(bought))
    repeaters = [u for u in week.users if week.truth[u].nnz > week.new[u].nnz]
    assert user in repeaters
    assert found["repeats"][repeaters.index(user)] == pytest.approx(len((bought - new) & shown) / len(bought - new))
    explorers = [u for u in week.users if week.new[u].nnz]
    of_unowned = set(lists.unowned[list(week.users).index(explorers[0])].tolist())
    wanted = set(week.new[explorers[0]].indices.tolist())
    assert found["new_of_unowned"][0] == pytest.approx(len(wanted & of_unowned) / len(wanted))


def test_lists_without_what_the_household_has_hold_none_of_it(week: Week) -> None:
    lists = listed(PersonalFrequency(84.0).fit(week.log), week)
    for row, user in zip(lists.unowned, week.users, strict=True):
        assert not set(row[row >= 0].tolist()) & set(week.owned[user].indices.tolist())
    assert (lists.unowned == -1).any()
    assert lists.whole.shape == lists.unowned.shape == (len(week.users), DEPTH)


def test_a_list_that_is_the_truth_adds_what_the_blend_misses(week: Week) -> None:
    truth = np.full((len(week.users), DEPTH), -1, np.int32)
    for n, user in enumerate(week.users):
        bought = week.truth[user].indices
        truth[n, : len(bought)] = bought
    little = [(cut(listed(Popularity().fit(week.log), week), 5).whole, 1.0)]
    found = fused(Judge.of(week, 100), little, {"truth": truth})
    gained = found["with"]["truth"]["2.0"]["whole"]
    assert gained["mean"] == 1
    assert gained["difference"] == pytest.approx(1 - found["without"]["whole"]["mean"])
    assert gained["difference_interval"][0] > 0


def test_the_command_writes_what_each_retriever_and_blend_holds(paths: DataPaths, tmp_path: Path) -> None:
    stages: list[str] = []
    result = evaluate_retrievers(paths, tmp_path, CUTOFF, [TINY], stages.append, datetime(2024, 5, 13))
    assert json.loads((tmp_path / "retrievers.json").read_text()) == result
    assert {"towers", "als", "ease", "item-knn", "expected"} <= set(result["retrievers"])
    assert len(result["retrievers"]["towers"]["epochs"]) == 1
    assert list(result["blend"]["with"]) == ["towers"]
    assert result["search"]["approximate"]["128"]["recall"] == 1
    page = "".join(f"<!-- {make.__name__} -->\n<!-- /{make.__name__} -->\n" for make in TABLES)
    assert f"{result['retrievers']['als']['whole']['mean']:.4f}" in written(page, result)
    assert stages[-1] == "blends"


def test_a_week_that_reaches_into_the_tests_is_refused(paths: DataPaths, tmp_path: Path) -> None:
    for cutoff in (datetime(2017, 10, 24), datetime.max):
        with pytest.raises(UserError, match="reaches into the test weeks"):
            evaluate_retrievers(paths, tmp_path, cutoff)
    assert not list(tmp_path.iterdir())


def test_a_week_in_which_nobody_bought_is_refused(paths: DataPaths, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the week of 0001-01-01: nobody bought anything in it who had bought before"):
        evaluate_retrievers(paths, tmp_path, datetime.min)


def test_the_page_holds_the_figures_of_the_last_run() -> None:
    page = (ROOT / "docs/retrievers.md").read_text()
    result = json.loads((ROOT / "benchmarks/results/retrievers/retrievers.json").read_text())
    assert written(page, result) == page
