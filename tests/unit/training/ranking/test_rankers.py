"""Lists, trees and networks on rows whose labels follow a number: they learn its order, and probabilities stay true."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from feature_repo import schema
from training.dataset.labels import epoch
from training.model import Architecture
from training.ranking import scorer
from training.ranking.attention import Attention
from training.ranking.fitting import CALENDAR, Narrowed, encoding_of, fit_rankers
from training.ranking.lists import Lists, draw_lists, whole
from training.ranking.network import Ensemble, Network, Scores, TrainedNetwork
from training.ranking.past import Past, PastBlock
from training.ranking.ranker import Ranker
from training.ranking.rows import Rows, columns_of, retrieval_columns
from training.ranking.trees import Trees
from training.retrieval.blend import Candidates
from training.retrieval.histories import Histories
from training.retrieval.log import DAY, F64
from training.retrieval.products import Products
from training.shards import RANKING

COLUMNS = columns_of(("one", "two"))
CUTOFF = datetime(2024, 1, 1)
USERS, ITEMS = 300, 40
GROUPS = np.arange(ITEMS, dtype=np.int32) % 10


def past() -> Past:
    """Every user bought three items; products have ten groups and no embedding of their own."""
    users = np.repeat(np.arange(USERS, dtype=np.int32), 3)
    items = np.random.default_rng(5).integers(0, ITEMS, len(users)).astype(np.int32)
    at = np.full(len(users), epoch(CUTOFF) / DAY - 1)
    fields = np.stack([np.zeros_like(GROUPS)] * 3 + [1 + GROUPS], axis=1).astype(np.int32)
    nothing = np.zeros(ITEMS, np.int32)
    return Past(Histories(items, at, np.arange(USERS + 1) * 3, at, users), Products(nothing, fields, fields, 11))


PAST = past()


def rows(seed: int, users: int = USERS, candidates: int = ITEMS) -> Rows:
    """Labels of rate σ(x − 3), x the first retrieval column; everything else is noise."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(0, 1, (users * candidates, len(COLUMNS.numeric))).astype(np.float32)
    signal = 2 * numeric[:, len(schema.NUMERIC)] - 3
    label = (rng.random(len(signal)) < expit(signal)).reshape(users, candidates)
    return Rows(
        CUTOFF,
        np.arange(users),
        np.tile(np.arange(candidates, dtype=np.int32), (users, 1)),
        label,
        rng.random(label.shape) < 0.5,
        label.sum(1) + 1,
        label.sum(1),
        numeric,
        rng.integers(1, 5, (users * candidates, len(COLUMNS.categorical))),
    )


@pytest.fixture(scope="module")
def lists() -> tuple[Lists, Lists]:
    rng = np.random.default_rng(0)
    return draw_lists([rows(0), rows(1)], 24, rng, PAST), draw_lists([rows(2)], 40, rng, PAST)


def test_a_list_holds_every_purchase_and_says_how_the_rest_was_sampled(lists: tuple[Lists, Lists]) -> None:
    source, train = rows(0), lists[0]
    assert len(train) == 600
    label = train.block.label.reshape(-1, 24)
    np.testing.assert_array_equal(label[:300].sum(1), source.label.sum(1))
    kept = 24 - label[:300].sum(1)
    expected = -np.log(kept / (40 - label[:300].sum(1)))
    np.testing.assert_allclose(train.block.offset.reshape(-1, 24)[:300, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "how",
    [
        Trees("binary", rounds=60, least=20),
        Network(Architecture(hidden=(16, 8)), epochs=2, lists=8, learning_rate=0.01),
        Network(Architecture(hidden=(16, 8)), "listwise", epochs=2, lists=8, learning_rate=0.01),
        Network(Architecture(hidden=(16, 8)), "pairwise", epochs=2, lists=8, learning_rate=0.01),
        Network(Architecture(hidden=(16, 8)), epochs=2, lists=8, learning_rate=0.01, bins=8),
        Network(Architecture(hidden=(16, 8)), epochs=2, lists=8, learning_rate=0.01, bins=8, cross=4),
        Network(Architecture(hidden=(16, 8)), epochs=2, lists=8, learning_rate=0.01, history=Attention(width=8)),
    ],
    ids=["trees", "rows", "listwise", "pairwise", "bins", "cross", "history"],
)
def test_probabilities_are_true_whatever_the_loss(how: Trees | Network, lists: tuple[Lists, Lists]) -> None:
    test = rows(3)
    encoding = encoding_of(lists[0], COLUMNS)
    z = how.fit(*lists, encoding, 0).score(whole(test, PAST))
    assert np.corrcoef(z, test.numeric[:, len(schema.NUMERIC)])[0, 1] > 0.8
    assert expit(z).mean() == pytest.approx(test.label.mean(), rel=0.15)


def test_an_ensemble_averages_its_members_and_a_narrow_one_sees_stored_features_alone(
    lists: tuple[Lists, Lists],
) -> None:
    trees = Trees("binary", rounds=30, least=20)
    rankers = (
        Ranker("narrow", trees, columns="schema"),
        Ranker("wide", trees),
        Ranker("both", None, seeds=(), members={"narrow": 1, "wide": 1}),
    )
    models = {ranker.name: model for ranker, model, _ in fit_rankers(rankers, *lists, COLUMNS, {})}
    test = rows(3)
    assert isinstance(models["narrow"], Narrowed)
    blind = replace(test, numeric=test.numeric.copy())
    blind.numeric[:, len(RANKING.numeric) :] = 0
    np.testing.assert_array_equal(models["narrow"].score(whole(test, PAST)), models["narrow"].score(whole(blind, PAST)))
    mean = (models["narrow"].score(whole(test, PAST)) + models["wide"].score(whole(test, PAST))) / 2
    assert spearmanr(models["both"].score(whole(test, PAST)), mean).statistic > 0.9999


@pytest.mark.parametrize(
    "how",
    [Trees("binary", rounds=20, least=20), Network(Architecture(hidden=(16, 8)), epochs=1, lists=8, bins=4)],
    ids=["trees", "network"],
)
def test_the_moment_changes_no_score_unless_it_is_shown(how: Trees | Network, lists: tuple[Lists, Lists]) -> None:
    calendar = [name.startswith(CALENDAR) for name in COLUMNS.numeric]
    assert sum(calendar) == 6
    test = rows(3, 20)
    later = replace(test, numeric=test.numeric.copy())
    later.numeric[:, calendar] = 5
    blind, shown = (how.fit(*lists, encoding_of(lists[0], COLUMNS, c), 0) for c in (False, True))
    np.testing.assert_array_equal(blind.score(whole(test, PAST)), blind.score(whole(later, PAST)))
    assert np.abs(shown.score(whole(test, PAST)) - shown.score(whole(later, PAST))).max() > 0


def by_history(seed: int) -> Rows:
    """Rows whose labels follow what no column tells: whether the user bought of the item's group."""
    rng = np.random.default_rng(seed)
    found = rows(seed)
    bought = PAST.histories.items.reshape(USERS, 3)
    held = (GROUPS[found.items][:, :, None] == GROUPS[bought][:, None]).any(-1)
    label = rng.random(held.shape) < np.where(held, 0.6, 0.05)
    return replace(found, label=label, wanted=label.sum(1) + 1)


@pytest.mark.parametrize("reads", [False, True], ids=["columns alone", "history"])
def test_a_network_that_reads_histories_finds_what_columns_do_not_tell(reads: bool) -> None:
    rng = np.random.default_rng(0)
    train = draw_lists([by_history(seed) for seed in range(4)], 24, rng, PAST)
    validation = draw_lists([by_history(4)], ITEMS, rng, PAST)
    history = Attention(width=16, dropout=0) if reads else None
    how = Network(Architecture(hidden=(16, 8)), epochs=6, lists=8, learning_rate=0.01, history=history)
    test = by_history(5)
    z = how.fit(train, validation, encoding_of(train, COLUMNS), 0).score(whole(test, PAST))
    assert (roc_auc_score(test.label.ravel(), z) > 0.75) == reads


def test_rows_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    written = rows(0, 3, 4)
    written.write(path)
    read = Rows.read(path)
    assert read.cutoff == written.cutoff
    for name in list(vars(written))[1:]:
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))


def test_retrieval_columns_are_over_the_users_best_and_tell_the_rank() -> None:
    scores = np.array([[[4.0, 0.0], [2.0, 1.0]]], np.float32)
    ranks = np.array([[[0, 500], [3, 0]]], np.int16)
    found = retrieval_columns(Candidates(np.array([0]), np.array([[7, 9]], np.int32), scores, ranks, ("one", "two")))
    np.testing.assert_allclose(found[:, :2], np.array([[1, 0], [0.5, 1]], np.float32))
    np.testing.assert_allclose(np.expm1(found[:, 2:4]), np.array([[0, 500], [3, 0]], np.float32), rtol=1e-4)
    assert found[:, -1].tolist() == [1, 2]


def test_a_network_learns_from_an_earlier_ranker_that_is_named(lists: tuple[Lists, Lists]) -> None:
    how = Network(Architecture(hidden=(16, 8)), epochs=2, lists=8, learning_rate=0.01, teacher=1.0)
    tried = [
        Ranker("trees", Trees("binary", rounds=60, least=20)),
        Ranker("alone", how),
        Ranker("taught", how, teacher="trees"),
    ]
    block = whole(rows(3), PAST)
    trees, alone, taught = (m.score(block) for _, m, _ in fit_rankers(tried, *lists, COLUMNS, {}))
    assert np.corrcoef(taught, trees)[0, 1] > np.corrcoef(alone, trees)[0, 1]


def test_weighted_rows_of_each_user_weigh_by_what_it_bought(lists: tuple[Lists, Lists]) -> None:
    train = replace(lists[0], wanted=np.resize([1, 3, 6, 30], len(lists[0])))
    weight = train.weighted(1).block.weight.reshape(len(train), train.length)
    np.testing.assert_array_equal(weight[:, 0], weight[:, -1])
    assert weight.mean() == pytest.approx(1)
    few, three, six, many = weight[:4, 0]
    assert few == three == pytest.approx(2 * six) == pytest.approx(10 * many)
    assert (lists[0].block.weight == 1).all()


@pytest.mark.parametrize(
    "how",
    [
        Trees("binary", rounds=60, least=20, features=1),
        Network(Architecture(hidden=(16, 8)), epochs=2, lists=8, learning_rate=0.01),
    ],
    ids=["trees", "network"],
)
def test_a_ranker_by_user_learns_from_those_of_few_purchases(how: Trees | Network, lists: tuple[Lists, Lists]) -> None:
    """Half of the lists say the opposite of the others: the order learned is that of those with few purchases."""
    flipped = np.arange(600) % 2 == 1
    numeric = lists[0].block.numeric.reshape(600, 24, -1).copy()
    numeric[flipped, :, len(schema.NUMERIC)] *= -1
    block = replace(lists[0].block, numeric=numeric.reshape(600 * 24, -1))
    train = Lists(block, 24, np.where(flipped, 100, 4))
    rankers = (
        Ranker("by user", how, by_user=1),
        Ranker("calibrated", None, seeds=(), members={"by user": 1}),
    )
    models = {ranker.name: model for ranker, model, _ in fit_rankers(rankers, train, lists[1], COLUMNS, {})}
    test = rows(3)
    z = models["calibrated"].score(whole(test, PAST))
    assert np.corrcoef(z, test.numeric[:, len(schema.NUMERIC)])[0, 1] > 0.6
    assert expit(z).mean() == pytest.approx(test.label.mean(), rel=0.15)  # of rows that all weigh the same


def test_scores_that_only_order_or_weigh_rows_are_no_log_odds() -> None:
    assert Ranker("trees", Trees("binary")).is_log_odds
    assert not Ranker("order", Trees("lambdarank")).is_log_odds
    assert not Ranker("by user", Trees("binary"), by_user=1).is_log_odds
    assert Ranker("calibrated", None, members={"order": 1}).is_log_odds


def test_a_loss_that_ignores_weights_is_refused_them() -> None:
    with pytest.raises(ValueError, match="pairs: a loss of pairs takes no weights"):
        Ranker("pairs", Network(loss="pairwise"), by_user=1)


def test_members_count_by_their_weights(lists: tuple[Lists, Lists]) -> None:
    trees = Trees("binary", rounds=30, least=20)
    rankers = (
        Ranker("one", trees),
        Ranker("other", replace(trees, leaves=4)),
        Ranker("both", None, seeds=(), members={"one": 2, "other": 1}),
    )
    models = {ranker.name: model for ranker, model, _ in fit_rankers(rankers, *lists, COLUMNS, {})}
    block = whole(rows(3), PAST)
    one, other = (models[name].score(block) for name in ("one", "other"))
    assert spearmanr(models["both"].score(block), 2 * one + other).statistic > 0.9999


@pytest.fixture(scope="module")
def trained(lists: tuple[Lists, Lists]) -> TrainedNetwork:
    how = Network(Architecture(hidden=(16, 8)), epochs=1, lists=32, bins=4, cross=4, history=Attention(width=8))
    return how.fit(*lists, encoding_of(lists[0], COLUMNS), 0)


@pytest.mark.parametrize("users", [1, 7, 300], ids=["less than a step", "a part of a step", "many"])
def test_scores_do_not_depend_on_how_many_lists_are_scored_at_a_time(
    users: int, trained: TrainedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = whole(rows(3, users), PAST)
    index = trained.encoding.vocabulary.encode(block.categorical)
    past = block.of_lists(slice(None))
    one_by_one = trained.scorer.logits(block.numeric, index, past, training=False).numpy()
    monkeypatch.setattr(scorer, "PREDICT_ROWS", 4 * ITEMS)
    np.testing.assert_allclose(
        scorer.raw_scores(trained.scorer, trained.encoding, block), one_by_one, rtol=1e-4, atol=1e-5
    )


def test_a_model_of_several_ensembles_is_asked_once(lists: tuple[Lists, Lists]) -> None:
    asked: list[str] = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def score(self, block: PastBlock) -> F64:
            asked.append(self.name)
            return (block.label + len(asked)).astype(np.float64)

    scores = Scores(lists[1].block)
    one, two = Noted("one"), Noted("two")
    both = Ensemble.of((one, two), (1, 1), scores)
    all_of_them = Ensemble.of((both, one), (1, 1), scores)
    z, seconds = scores.of(all_of_them)
    assert asked == ["one", "two"]
    assert seconds > 0
    np.testing.assert_allclose(z, all_of_them.of_scores([scores.of(both)[0], scores.of(one)[0]]))


def test_training_that_diverges_says_so(lists: tuple[Lists, Lists]) -> None:
    broken = replace(lists[1], block=replace(lists[1].block, label=np.full_like(lists[1].block.label, np.nan)))
    how = Network(Architecture(hidden=(16, 8)), epochs=1, lists=8)
    with pytest.raises(FloatingPointError, match="the validation loss is no number after any epoch"):
        how.fit(lists[0], broken, encoding_of(lists[0], COLUMNS), 0)
