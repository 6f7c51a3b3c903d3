"""The slates of a real server, asked for and judged on the week after its features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from server.app import Running
from shoprank import Client
from shoprank.cli.served import Asked, ask, described, ids_of
from tests.conftest import Shop
from training.ranking.names import SERVED
from training.ranking.served import Answers, judged, week_of
from training.ranking.slate import Week
from training.retrieval.log import PurchaseLog, read_log


@pytest.fixture(scope="module")
def log(trained: Shop) -> PurchaseLog:
    return read_log(trained.paths)


@pytest.fixture(scope="module")
def week(trained: Shop, log: PurchaseLog) -> Week:
    return week_of(log, trained.schedule.test)


@pytest.fixture(scope="module")
def asked(server: Running, log: PurchaseLog, week: Week) -> Asked:
    told: list[tuple[int, int]] = []
    with Client(server.address, timeout=10) as client:
        found = ask(
            client, log.catalogue.user_ids[week.users].tolist(), week.cutoff, lambda _, n, of: told.append((n, of))
        )
    assert told[-1] == (len(week.users), len(week.users))
    return found


def test_the_figures_are_those_of_the_slates_that_clients_got(
    asked: Asked, log: PurchaseLog, week: Week, tmp_path: Path
) -> None:
    ids = log.catalogue.item_ids
    answers = Answers(ids_of(asked.whole), ids_of(asked.explore), ids_of(asked.candidates))
    result = judged(week, log, {SERVED: answers}, tmp_path, "key")
    recalls = []
    for slate, user in zip(asked.whole, week.users, strict=True):
        bought = set(ids[week.truth[user].indices])
        recalls.append(len(bought & {item.item_id for item in slate}) / len(bought))
    assert result["contenders"][SERVED]["whole"]["recall@20"]["mean"] == pytest.approx(np.mean(recalls))
    assert np.mean(recalls) > 0.2


def test_slates_of_new_products_hold_nothing_the_household_ever_bought(
    asked: Asked, log: PurchaseLog, week: Week
) -> None:
    ids = log.catalogue.item_ids
    for whole, explore, user in zip(asked.whole, asked.explore, week.users, strict=True):
        owned = set(ids[week.owned[user].indices])
        assert owned.isdisjoint(item.item_id for item in explore)
        assert not owned.isdisjoint(item.item_id for item in whole)


def test_the_slate_is_the_top_of_all_candidates(asked: Asked) -> None:
    for whole, candidates in zip(asked.whole, asked.candidates, strict=True):
        assert [item.item_id for item in candidates][: len(whole)] == [item.item_id for item in whole]
        assert len(candidates) == candidates.candidate_count


def test_every_household_is_known_by_features_of_the_cutoff(asked: Asked, week: Week) -> None:
    found = described(asked)
    assert (found["model"], found["version"]) == ("purchase", 1)
    assert found["users_found"] == len(week.users)
    assert found["oldest_features_hours"] == 0
