"""Candidates by vectors: a user's vector made of a live history is the one that training would have made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from implicit.als import AlternatingLeastSquares

from feature_repo.schema import HALF_LIFE_DAYS
from feature_repo.transforms import UserRow
from server.catalogue import Catalogue
from server.retrieval.retriever import Candidates, Retriever
from server.retrieval.sources import Sources
from server.retrieval.vectors import Search
from server.slates.reasons import reasons
from shoprank.errors import BundleError
from tests.stored_users import CUTOFF, TIME, bought, rows_of, user_of
from tests.world import ITEMS, USERS, events, write_world
from training.retrieval import learned
from training.retrieval.factors import ImplicitAls
from training.retrieval.learned import HALF_LIFE, als, of_towers, probing_of
from training.retrieval.log import PurchaseLog, read_log
from training.retrieval.served import Source, fit_sources, write_served
from training.retrieval.tower_training import Fit
from training.retrieval.traits import Traits
from training.retrieval.two_tower import FittedTowers, TwoTower

NOBODY = Traits((), (), np.zeros((USERS, 0), np.int32))
CORE = 3
"""How many sources come before the learned ones here."""


def quiet(*_: object) -> None:
    """Progress that nobody sees."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PurchaseLog:
    return read_log(write_world(tmp_path_factory.mktemp("shop"), events())).before(CUTOFF)


@pytest.fixture(scope="module")
def towers(log: PurchaseLog) -> FittedTowers:
    training = Fit(weeks=6, epochs=1, batch=32, even=64)
    return TwoTower(width=16, half_life=HALF_LIFE, min_count=3, training=training).fit(log)


@pytest.fixture(scope="module")
def sources(log: PurchaseLog, towers: FittedTowers) -> list[Source]:
    return [*fit_sources(log, NOBODY)[-CORE:], of_towers(towers, log), als(log, quiet)]


@pytest.fixture(scope="module")
def retriever(log: PurchaseLog, sources: list[Source], tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    path = tmp_path_factory.mktemp("bundle") / "retrieval.npz"
    write_served(path, sources, log)
    return Retriever.read(path)


def search_of(retriever: Retriever, name: str) -> Search:
    return retriever._searches[name]


def vector_of(retriever: Retriever, name: str, row: UserRow) -> npt.NDArray[np.float32]:
    search = search_of(retriever, name)
    return search._side.vector(*search._of(retriever.history(row, TIME)))


def test_the_store_halves_purchases_as_the_pooled_towers_do() -> None:
    assert 4 * HALF_LIFE_DAYS["recent"] == HALF_LIFE


@pytest.mark.parametrize("user", [0, 7, 31])
def test_a_live_history_has_the_vector_of_the_user_tower(
    retriever: Retriever, towers: FittedTowers, log: PurchaseLog, user: int
) -> None:
    assert np.count_nonzero(log.users == user) < towers.length
    expected = towers.towers.user_vectors(towers.history(np.array([user])))[0]
    np.testing.assert_allclose(vector_of(retriever, "two-tower", rows_of(log, user)), expected, atol=2e-3)


@pytest.mark.parametrize("user", [0, 7, 31])
def test_a_live_history_has_the_factors_that_alternating_least_squares_would_solve(
    retriever: Retriever, log: PurchaseLog, user: int
) -> None:
    settings = ImplicitAls(half_life=HALF_LIFE)
    matrix = log.matrix(log.halved(HALF_LIFE))
    matrix.data = (1 + settings.alpha * np.log1p(matrix.data)).astype(np.float32)
    model = AlternatingLeastSquares(factors=settings.factors, regularization=settings.regularization)
    model.item_factors = settings.fit(log).items
    expected = model.recalculate_user(user, matrix[user])
    np.testing.assert_allclose(
        vector_of(retriever, "als", rows_of(log, user)), np.ravel(expected), atol=0.01 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", ["two-tower", "als"])
def test_the_best_are_those_of_the_largest_products_among_what_passes(
    retriever: Retriever, log: PurchaseLog, name: str
) -> None:
    (source,) = (s for s in retriever.sources if s.name == name)
    row = rows_of(log, 7)
    scores = source.arrays["vectors"].astype(np.float32) @ vector_of(retriever, name, row)
    passing = np.zeros(ITEMS, np.bool_)
    passing[::3] = True
    for mask in (None, passing):
        found = search_of(retriever, name).best(retriever.history(row, TIME), 20, mask)
        wanted = scores if mask is None else np.where(mask, scores, -np.inf)
        assert found.tolist() == np.argsort(-wanted, kind="stable")[: len(found)].tolist()
        assert len(found) == 20


def test_factors_of_no_interest_are_not_proposed(retriever: Retriever, log: PurchaseLog) -> None:
    (source,) = (s for s in retriever.sources if s.name == "als")
    row = rows_of(log, 7)
    scores = source.arrays["vectors"].astype(np.float32) @ vector_of(retriever, "als", row)
    found = search_of(retriever, "als").best(retriever.history(row, TIME), ITEMS, None)
    assert len(found) == np.count_nonzero(scores > 0) < ITEMS


@pytest.mark.parametrize("name", ["two-tower", "als"])
def test_learned_sources_are_named_and_say_why(retriever: Retriever, log: PurchaseLog, name: str) -> None:
    own = retriever.names.index(name)
    history = retriever.history(rows_of(log, 7), TIME)
    found = retriever.candidates(history, 40)
    named = found.items[(found.bits >> np.uint32(own)) & 1 == 1]
    assert set(named.tolist()) & set(search_of(retriever, name).best(history, 20, None).tolist())
    why = retriever.because(retriever.sources[own], history, found.items)
    assert set(why.tolist()) <= set(history.items.tolist())
    # An item that the user has speaks most for itself.
    mine = history.items[:1]
    assert retriever.because(retriever.sources[own], history, mine).tolist() == mine.tolist()


@pytest.mark.parametrize("name", ["two-tower", "als"])
def test_a_slate_says_for_which_item_of_the_user_a_learned_source_speaks(
    retriever: Retriever, log: PurchaseLog, name: str
) -> None:
    class Names(Catalogue):
        def __init__(self) -> None:
            pass

        def name(self, item_id: str) -> str:
            return f"item {item_id}"

    own = retriever.names.index(name)
    history = retriever.history(rows_of(log, 7), TIME)
    new = np.setdiff1d(np.arange(ITEMS, dtype=np.int32), history.items)[:9]
    slate = Candidates(new, np.full(9, 1 << own, np.uint32), np.full(9, own, np.int32))
    speaking = retriever.because(retriever.sources[own], history, new)
    said = reasons(retriever, history, slate, Names(), np.zeros(9, np.float32))
    for reason, item in zip(said, speaking.tolist(), strict=True):
        assert (reason.kind, reason.item_id) == ("ALSO_BOUGHT", retriever.item_ids[item])
        assert reason.text == f"bought by people who buy item {retriever.item_ids[item]}"


def test_the_shares_of_a_history_among_factors_add_up_to_the_score(retriever: Retriever, log: PurchaseLog) -> None:
    search, row = search_of(retriever, "als"), rows_of(log, 7)
    (source,) = (s for s in retriever.sources if s.name == "als")
    rows, steady, _ = search._of(retriever.history(row, TIME))
    shares = search._side.shares(rows, steady, np.arange(ITEMS, dtype=np.int32))
    scores = source.arrays["vectors"].astype(np.float32) @ vector_of(retriever, "als", row)
    np.testing.assert_allclose(shares.sum(axis=0), scores, atol=1e-3)


@pytest.mark.parametrize("name", ["two-tower", "als"])
def test_nobody_is_proposed_nothing_and_what_was_looked_at_counts(retriever: Retriever, name: str) -> None:
    search = search_of(retriever, name)
    nobody = retriever.history(UserRow.unknown(), TIME)
    assert not len(search.best(nobody, 20, None))
    assert search.because(nobody, np.arange(3, dtype=np.int32)).tolist() == [-1] * 3
    assert len(search.best(retriever.history(user_of(bought("i3", count=0, looked_at=2)), TIME), 20, None))


def test_a_long_history_is_known_by_its_items_of_the_most_weight(
    retriever: Retriever, log: PurchaseLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.retrieval.vectors.MOST", 5)
    rows, steady, recent = search_of(retriever, "als")._of(history := retriever.history(rows_of(log, 7), TIME))
    assert (len(rows), len(steady), len(recent)) == (5, 5, 5)
    assert sorted(steady.tolist(), reverse=True) == sorted(history.steady.tolist(), reverse=True)[:5]


def test_beyond_a_size_items_lie_in_cells_and_enough_of_them_find_the_same(
    log: PurchaseLog, retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned, "EXACT_UP_TO", 100)
    cells = als(log, quiet)
    how = probing_of(cells)
    assert how is not None
    assert 1 < how.cells == len(cells.arrays["cells"]) == how.probes
    assert how.recall == 1
    write_served(tmp_path / "retrieval.npz", [*fit_sources(log, NOBODY)[-CORE:], cells], log)
    searched = Retriever.read(tmp_path / "retrieval.npz")
    passing = np.arange(ITEMS) % 2 == 0
    for mask in (None, passing):
        for user in (0, 7, 31):
            history = retriever.history(rows_of(log, user), TIME)
            found, exact = (search_of(one, "als").best(history, 15, mask) for one in (searched, retriever))
            assert found.tolist() == exact.tolist()
    monkeypatch.setattr(search_of(searched, "als")._index, "_probes", 1)
    history = retriever.history(rows_of(log, 7), TIME)
    near, every = (search_of(one, "als").best(history, ITEMS, None) for one in (searched, retriever))
    assert set(near.tolist()) < set(every.tolist())
    filtered, exact = (search_of(one, "als").best(history, ITEMS, passing) for one in (searched, retriever))
    assert filtered.tolist() == exact.tolist()  # with a filter every cell is looked into


def external() -> npt.NDArray[np.uint8]:
    """A graph whose tensor lies in another file."""
    tensor = onnx.TensorProto(name="elsewhere", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    graph = onnx.helper.make_graph([], "graph", [], [], [tensor])
    return np.frombuffer(onnx.helper.make_model(graph).SerializeToString(), np.uint8)


def of_one_length() -> npt.NDArray[np.uint8]:
    """A graph that takes histories of two items alone."""
    tensor, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto
    inputs = [tensor(name, kind.INT32, [1, 2]) for name in ("history", "group")]
    inputs += [tensor(name, kind.FLOAT, [1, 2]) for name in ("steady", "recent")]
    node = onnx.helper.make_node("Add", ["steady", "recent"], ["vector"])
    graph = onnx.helper.make_graph([node], "graph", inputs, [tensor("vector", kind.FLOAT, [1, 2])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    return np.frombuffer(model.SerializeToString(), np.uint8)


@pytest.mark.parametrize(
    ("name", "part", "bad", "message"),
    [
        ("als", "vectors", lambda was: was[:-1], "vectors of shape"),
        ("als", "vectors", lambda was: np.full_like(was, np.nan), "not finite"),
        ("als", "cells", lambda was: np.zeros((2, 3), np.float32), "cells of"),
        ("als", "gram", lambda was: was[:-1], "a matrix of shape"),
        ("als", "gram", lambda was: np.zeros_like(was), "als: systems that cannot be solved"),
        ("als", "gram", lambda was: was.astype(np.complex64), "als: a matrix of complex64"),
        ("als", "gram", lambda was: np.where(np.eye(len(was)) > 0, was, np.nan), "als: systems that cannot be solved"),
        ("als", "gram", lambda was: was * np.float32(1e-30), "als: systems that cannot be solved"),
        ("als", "vectors", lambda was: np.full_like(was, 65504), "als: factors beyond"),
        ("als", "vectors", lambda was: was.astype(np.complex64), "als: vectors of complex64"),
        ("als", "cells", lambda was: np.zeros((ITEMS + 1, was.shape[1]), np.float32), "cells of"),
        ("als", "probes", lambda was: np.array(0), "als: 0 cells to look into"),
        ("als", "probes", lambda was: np.array(2.5), "als: 2.5 cells to look into"),
        ("als", "probes", lambda was: np.array([2, 3]), "cells to look into"),
        ("als", "confidence", lambda was: np.full_like(was, np.nan), "als: a confidence of nan"),
        ("als", "confidence", lambda was: np.full(1, 1e300), "als: a confidence of 1e\\+300"),
        ("two-tower", "graph", lambda was: of_one_length(), "two-tower: the user tower cannot be run"),
        ("two-tower", "index", lambda was: was - 10_000, "missing or negative"),
        ("two-tower", "group", lambda was: was[:-1], "missing or negative"),
        ("two-tower", "index", lambda was: was + 10_000, "two-tower: the user tower cannot be run"),
        ("two-tower", "graph", lambda was: was[:100], "two-tower: the user tower cannot be run"),
        ("two-tower", "graph", lambda was: external(), "names external data"),
        ("two-tower", "vectors", lambda was: np.hstack([was, was]), "gives a vector of float32 and shape"),
    ],
)
def test_a_file_with_odd_vectors_is_refused(
    log: PurchaseLog,
    sources: list[Source],
    tmp_path: Path,
    name: str,
    part: str,
    bad: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    message: str,
) -> None:
    changed = [
        replace(one, arrays=one.arrays | {part: bad(one.arrays.get(part, np.zeros(0)))}) if one.name == name else one
        for one in sources
    ]
    if part == "vectors" and bad(np.zeros((1, 2))).shape == (1, 4):
        changed[CORE] = replace(
            changed[CORE], arrays=changed[CORE].arrays | {"cells": np.zeros((0, 2 * 17), np.float32)}
        )
    write_served(tmp_path / "retrieval.npz", changed, log)
    with pytest.raises(BundleError, match=message):
        Retriever.read(tmp_path / "retrieval.npz")


def test_a_file_without_learned_sources_has_no_vectors(log: PurchaseLog, tmp_path: Path) -> None:
    write_served(tmp_path / "retrieval.npz", fit_sources(log, NOBODY), log)
    assert not Retriever(Sources.read(tmp_path / "retrieval.npz"))._searches
