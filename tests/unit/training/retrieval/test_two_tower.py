"""Two towers learn from the past alone, and have a vector for whoever and whatever there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from shoprank.errors import UserError
from tests.shop_log import ingest_file
from training.graph import ExportError
from training.retrieval import tower_export
from training.retrieval.generator import top
from training.retrieval.histories import NONE, Histories, empty
from training.retrieval.learned import require
from training.retrieval.log import PurchaseLog, read_log
from training.retrieval.popularity import Popularity, Same
from training.retrieval.products import Products
from training.retrieval.tower_export import ITEM, USER, VECTORS, export_towers
from training.retrieval.tower_training import Aim, Fit, Sampler, TargetWeek
from training.retrieval.towers import Encoder
from training.retrieval.two_tower import FittedTowers, TwoTower
from training.synthetic import Shop, write_shop_log

CUTOFF = datetime(2019, 12, 20)
SHOP = Shop(users=60, items=400, days=90)
ENCODERS: tuple[Encoder, ...] = ("pooled", "gru", "cnn")


def small(encoder: Encoder = "pooled", aim: Aim = "all", seed: int = 0) -> TwoTower:
    """Towers that are fitted in seconds."""
    fit = Fit(aim=aim, weeks=6, epochs=1, batch=32, even=64)
    return TwoTower(encoder, length=24, width=16, min_count=3, training=fit, seed=seed)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> PurchaseLog:
    """Purchases on both sides of the cutoff; the first user bought nothing, the first item was never sold."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop_log(folder / "log.csv", 40_000, SHOP)
    log = read_log(ingest_file(folder, folder / "log.csv").paths)
    return log.take((log.users != 0) & (log.items != 0))


@pytest.fixture(scope="module")
def log(everything: PurchaseLog) -> PurchaseLog:
    return everything.before(CUTOFF)


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    found: Encoder = request.param
    return found


@pytest.fixture(scope="module")
def pooled(log: PurchaseLog) -> FittedTowers:
    return small("pooled").fit(log)


@pytest.fixture(scope="module")
def fitted(encoder: Encoder, pooled: FittedTowers, log: PurchaseLog) -> FittedTowers:
    return pooled if encoder == "pooled" else small(encoder).fit(log)


def test_every_user_and_item_has_a_finite_score(fitted: FittedTowers, log: PurchaseLog) -> None:
    users, items = log.catalogue.shape
    scores = fitted.score(np.arange(users))
    assert scores.shape == (users, items)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores.mean(axis=1), 1, rtol=1e-3)


def test_an_item_never_bought_has_a_vector_of_its_fields_and_words(fitted: FittedTowers) -> None:
    assert fitted.towers.products.index[0] == 0
    assert (fitted.score(np.arange(3))[:, 0] > 0).all()
    others = np.flatnonzero(fitted.towers.products.index == 0)[1:]
    assert (np.abs(fitted.vectors[others] - fitted.vectors[0]).max(axis=1) > 0).any()


def test_a_user_without_a_history_gets_what_an_unknown_one_does(fitted: FittedTowers, log: PurchaseLog) -> None:
    nobody = log.catalogue.shape[0] + 5
    of_both = fitted.score(np.array([0, nobody]))
    np.testing.assert_array_equal(of_both[0], of_both[1])
    np.testing.assert_allclose(of_both[:1], fitted.score_history(empty(1, fitted.length)), rtol=1e-5)
    assert np.abs(of_both[0] - fitted.score(np.array([1]))[0]).max() > 0


def test_the_nearest_items_are_those_of_the_highest_scores(pooled: FittedTowers) -> None:
    users = np.arange(5)
    items, products = pooled.nearest(users, 10)
    np.testing.assert_array_equal(items, top(pooled.score(users), 10))
    assert (np.diff(products, axis=1) <= 0).all()


def test_another_seed_gives_other_scores(pooled: FittedTowers, log: PurchaseLog) -> None:
    users = np.arange(9)
    assert np.abs(small(seed=1).fit(log).score(users) - pooled.score(users)).max() > 1e-3


def test_purchases_after_the_cutoff_change_nothing_and_a_seed_gives_the_same_scores(
    encoder: Encoder, fitted: FittedTowers, everything: PurchaseLog
) -> None:
    later = everything.at >= everything.before(CUTOFF).now
    changed = replace(everything, items=np.where(later, everything.items[::-1], everything.items))
    assert (changed.items != everything.items).any()
    users = np.arange(9)
    found = small(encoder).fit(changed.before(CUTOFF)).score(users)
    np.testing.assert_allclose(found, fitted.score(users), rtol=1e-5)


def test_a_history_ends_strictly_before_the_moment(log: PurchaseLog) -> None:
    user = int(log.users[-1])
    items, at = log.items[log.users == user], log.at[log.users == user]
    moment = float(at[-1])
    held = Histories.of(log).before(moment, np.array([user]), 8, 10.0)
    past = items[at < moment][-8:]
    assert held.items[0, held.items[0] != NONE].tolist() == past.tolist()
    expected = 0.5 ** ((moment - at[at < moment][-8:]) / 10)
    np.testing.assert_allclose(held.weights[0, held.items[0] != NONE], expected, rtol=1e-5)
    assert items[-1] not in past[at[at < moment][-8:] == moment]


def test_a_batch_learns_from_what_was_bought_after_its_history(log: PurchaseLog) -> None:
    start = log.now - 14
    week = TargetWeek.of(log, start, "all")
    sampler = Sampler(Histories.of(log), 24, 84.0, Fit(batch=32, even=64, forgotten=0))
    for batch in sampler.epoch([week], np.random.default_rng(0)):
        assert batch.history.weights.max() <= 1
        own = batch.off[
            np.arange(len(batch.targets))[:, None], np.arange(batch.targets.size).reshape(len(batch.off), -1)
        ]
        assert (own == 1).all()
        np.testing.assert_array_equal(batch.columns[: batch.targets.size], batch.targets.ravel())
    unlearned = log.take(log.at < start)
    np.testing.assert_array_equal(
        Histories.of(log).before(start, np.arange(50), 24, 84.0).items,
        Histories.of(unlearned).before(start, np.arange(50), 24, 84.0).items,
    )


def test_log_q_is_how_often_an_item_comes_up_in_a_batch(log: PurchaseLog) -> None:
    week = TargetWeek.of(log, log.now - 14, "all")
    sampler = Sampler(Histories.of(log), 24, 84.0, Fit(batch=len(week.users), even=256))
    item, rng, seen, q = int(week.drawn.argmax()), np.random.default_rng(0), [], 0.0
    for _ in range(300):
        (batch,) = sampler.epoch([week], rng)
        seen.append(int((batch.columns == item).sum()))
        q = float(np.exp(batch.log_q[batch.columns == item][0])) if seen[-1] else q
    assert np.mean(seen) == pytest.approx(q, rel=0.15)


def test_towers_learn_more_than_popularity_knows(log: PurchaseLog) -> None:
    past, truth = log.take(log.at < log.now - 7, log.now - 7), log.take(log.at >= log.now - 7).owned()
    users = np.flatnonzero(np.diff(truth.indptr))
    found = {}
    fit = Fit(weeks=8, epochs=12, batch=32, even=64, learning_rate=1e-2, patience=4)
    towers = TwoTower(length=24, width=16, min_count=3, training=fit).fit(past)
    for name, scorer in (("towers", towers), ("popular", Popularity(28).fit(past))):
        best = top(scorer.score(users), 20)
        found[name] = truth[users][np.arange(len(users))[:, None], best].sum() / truth.sum()
    assert found["towers"] > 1.15 * found["popular"]


def test_towers_that_aim_at_new_products_do_not_propose_what_the_user_has(log: PurchaseLog) -> None:
    fitted = small(aim="new").fit(log)
    scores, owned = fitted.score(np.arange(20)), log.owned()[:20]
    assert (scores[owned.nonzero()] == 0).all()
    assert ((scores > 0).sum(axis=1) + np.diff(owned.indptr) == log.catalogue.shape[1]).all()


def test_hard_negatives_come_from_the_others_lists_before_the_weeks_learned_from(
    pooled: FittedTowers, log: PurchaseLog
) -> None:
    told: list[float] = []

    class Watched(Popularity):
        def fit(self, log: PurchaseLog) -> Same:
            told.append(float(log.at.max()))
            return super().fit(log)

    fitted = replace(small(), hard=Watched(14)).fit(log)
    assert told[0] < log.now - 7 * 7
    assert np.abs(fitted.score(np.arange(5)) - pooled.score(np.arange(5))).max() > 1e-3


def test_a_log_without_weeks_to_learn_from_is_refused(log: PurchaseLog) -> None:
    with pytest.raises(UserError, match="nothing to learn from"):
        small().fit(log.take(log.age <= 7))


def test_both_towers_in_onnx_equal_keras(fitted: FittedTowers, log: PurchaseLog, tmp_path: Path) -> None:
    assert export_towers(fitted, log, tmp_path / "towers") <= 1e-5
    assert {path.name for path in (tmp_path / "towers").iterdir()} == {ITEM, USER, VECTORS}
    np.testing.assert_array_equal(np.load(tmp_path / "towers" / VECTORS), fitted.vectors)


def test_towers_that_differ_in_onnx_are_not_written(
    log: PurchaseLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = small().fit(log)
    right = tower_export.to_onnx

    def spoiled(model: object) -> object:
        graph = right(model)
        fitted.towers.item.set_weights([w * 1.01 for w in fitted.towers.item.get_weights()])
        return graph

    monkeypatch.setattr(tower_export, "to_onnx", spoiled)
    with pytest.raises(ExportError, match="differ from Keras"):
        export_towers(fitted, log, tmp_path / "towers")
    assert not (tmp_path / "towers").exists()


def test_items_bought_often_enough_have_an_index_of_their_own(log: PurchaseLog) -> None:
    products = Products.of(log, 3)
    sold = np.bincount(log.items, minlength=log.catalogue.shape[1])
    np.testing.assert_array_equal(products.index > 0, sold >= 3)
    assert sorted(products.index[products.index > 0].tolist()) == list(range(1, products.index_size))
    assert products.fields.max() < products.fields_size


def test_too_few_weeks_are_told_before_anything_is_trained(log: PurchaseLog) -> None:
    require(log, ["als", "two-tower"])
    lately = log.take(log.at >= log.now - 7)
    require(lately, ["als"])
    with pytest.raises(UserError, match="nothing to learn from"):
        require(lately, ["two-tower"])
