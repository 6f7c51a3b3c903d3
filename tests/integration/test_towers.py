"""The model in parts answers as the whole graph does."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from feature_repo.store import applied_store
from feature_repo.transforms import UserRow
from server.features import OnlineFeatures
from server.items import Found, Items, Wanted
from server.models.model import FEW, Model, assembled, load
from server.towers import Asked, Towers
from shoprank import bundle
from tests.conftest import Shop
from tests.world import ITEMS, USERS

CLOSE = 1e-4


@pytest.fixture(scope="module")
def model(trained: Shop) -> Model:
    return load(bundle.current(trained.models, "purchase"))


@pytest.fixture(scope="module")
def asked(trained: Shop) -> list[Asked]:
    """Random candidates for each user of the shop, and for one that nobody knows, at several times."""
    features = OnlineFeatures(applied_store(trained.paths))
    items, rng = Items(features, 1_000), np.random.default_rng(0)
    version = features.items_version()
    users = [UserRow.unknown(), *(features.user(f"u{i}").row for i in range(USERS))]
    every = items.find(Wanted.of([f"i{i}" for i in range(ITEMS)]), version)
    newest = max(user.as_of for user in users)
    out = []
    for user in users:
        count = int(rng.integers(1, len(every) + 1))
        chosen = every.take(rng.permutation(len(every))[:count])
        out.append(Asked(user, chosen, newest + int(rng.integers(0, 10**6))))
    return out


def parts(model: Model) -> Towers:
    assert model.towers is not None
    return model.towers


def test_parts_answer_as_the_whole_graph_does(model: Model, asked: list[Asked]) -> None:
    assert max(len(one.items) for one in asked) > 100
    assert sum(one.user.history.purchases.sum() for one in asked) > 0
    for one in asked:
        for got, expected in zip(parts(model).score(one), model.run(assembled(one)), strict=True):
            np.testing.assert_allclose(got, expected, atol=CLOSE)


def test_several_users_in_one_run_are_answered_as_each_alone(model: Model, asked: list[Asked]) -> None:
    together = parts(model).score_all(asked)
    alone = [np.concatenate(some) for some in zip(*(parts(model).score(one) for one in asked), strict=True)]
    for got, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_few_items_are_answered_as_many(model: Model, asked: list[Asked]) -> None:
    one = max(asked, key=lambda one: len(one.items))
    many, few = model.score(one), model.score(Asked(one.user, one.items.take(np.arange(FEW)), one.time))
    for got, expected in zip(few, many, strict=True):
        np.testing.assert_allclose(got, expected[:FEW], atol=CLOSE)


def test_threads_do_not_disturb_each_other(trained: Shop, asked: list[Asked]) -> None:
    model = load(bundle.current(trained.models, "purchase"))  # one whose items have no shares yet
    alone = [model.run(assembled(one))[1] for one in asked]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for (_, got), expected in zip(pool.map(parts(model).score, asked), alone, strict=True):
                np.testing.assert_allclose(got, expected, atol=CLOSE)


def test_items_on_another_shelf_have_their_own_shares(model: Model, asked: list[Asked], trained: Shop) -> None:
    one = asked[-1]
    features = OnlineFeatures(applied_store(trained.paths))
    other = Items(features, 1_000).find(Wanted.of([f"i{i}" for i in (3, 1, 2)]), features.items_version())
    apart = Asked(one.user, Found(other.shelf, other.positions, []), one.time)
    got = parts(model).score_all([one, apart, one])[1]
    expected = np.concatenate([model.run(assembled(some))[1] for some in (one, apart, one)])
    np.testing.assert_allclose(got, expected, atol=CLOSE)


def test_a_bundle_with_other_parts_is_served_by_the_whole_graph(
    trained: Shop, model: Model, asked: list[Asked], tmp_path: Path
) -> None:
    folder = tmp_path / "purchase" / "1"
    shutil.copytree(bundle.current(trained.models, "purchase"), folder)
    (folder / bundle.USER_TOWER).unlink()
    manifest = json.loads((folder / bundle.MANIFEST).read_text())
    del manifest["files"][bundle.USER_TOWER]
    (folder / bundle.MANIFEST).write_text(json.dumps(manifest))
    former = load(folder)
    assert former.towers is None
    np.testing.assert_allclose(former.score(asked[0])[1], model.score(asked[0])[1], atol=CLOSE)
