"""Candidates from sources written by training, for users whose history is made up here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from feature_repo.transforms import UserRow
from server.retrieval.kernels import contributors, fuse, gather
from server.retrieval.keys import KeyIndex
from server.retrieval.retriever import OFFSET, Retriever
from server.retrieval.sources import Matrix, Sources
from server.retrieval.traits import by_traits, keys_of, told
from shoprank.errors import BundleError
from tests.stored_users import CUTOFF, TIME, bought, rows_of, user_of
from tests.world import ITEMS, USERS, events, write_world
from training.retrieval.generator import top
from training.retrieval.log import PurchaseLog, read_log
from training.retrieval.neighbours import ItemKnn
from training.retrieval.repeat import RepeatPurchase, pairs_of
from training.retrieval.served import ROW, fit_sources, write_served
from training.retrieval.traits import TraitPopularity, Traits


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PurchaseLog:
    return read_log(write_world(tmp_path_factory.mktemp("shop"), events())).before(CUTOFF)


@pytest.fixture(scope="module")
def traits(log: PurchaseLog) -> Traits:
    """Every user is of one of three ages, and every second of one of two incomes."""
    users = np.arange(len(log.catalogue.user_ids))
    codes = np.stack([users % 3, np.where(users % 2 == 0, 3 + users // 2 % 2, -1)], axis=1)
    values = (("age", "25-34"), ("age", "35-44"), ("age", "45-54"), ("income", "0"), ("income", "1"))
    return Traits(("age", "income"), values, codes.astype(np.int32))


@pytest.fixture(scope="module")
def retriever(log: PurchaseLog, traits: Traits, tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    path = Path(tmp_path_factory.mktemp("bundle")) / "retrieval.npz"
    write_served(path, fit_sources(log, traits), log)
    return Retriever.read(path)


def dense(matrix: Matrix | None) -> npt.NDArray[np.float32]:
    """A matrix of items × items."""
    assert matrix is not None
    found = np.zeros((ITEMS, ITEMS), np.float32)
    for row in range(ITEMS):
        columns, values = matrix.row(row)
        found[row, columns] = values
    return found


def test_the_largest_entries_of_each_row_are_kept(retriever: Retriever, log: PurchaseLog) -> None:
    whole = ItemKnn().similar(log).toarray()
    (source,) = (s for s in retriever.sources if s.name == "item-knn")
    kept = dense(source.matrix)
    for all_of_row, kept_of_row in zip(whole, kept, strict=True):
        assert np.count_nonzero(kept_of_row) == min(ROW, np.count_nonzero(all_of_row))
        there = kept_of_row > 0
        np.testing.assert_allclose(kept_of_row[there], all_of_row[there], rtol=1e-3)
        assert not there.any() or all_of_row[~there].max(initial=0) <= all_of_row[there].min()


@pytest.mark.parametrize("user", [0, 7, 31])
def test_candidates_are_those_of_the_fitted_generators_for_the_same_history(
    retriever: Retriever, log: PurchaseLog, user: int
) -> None:
    """A source by a user's live history ranks as the generator does that has seen the user's purchases."""
    history = retriever.history(rows_of(log, user), TIME)
    slots = np.zeros(ITEMS, np.int32)
    by_name = {source.name: source for source in retriever.sources}
    expected = {
        "item-knn": log.matrix(log.halved(56))[user] @ dense(by_name["item-knn"].matrix),
        "repeat": RepeatPurchase().fit(log).score(np.array([user]))[0],
    }
    for name, scores in expected.items():
        found, live = retriever._scored(by_name[name], history, slots)
        scored = np.zeros(ITEMS, np.float32)
        scored[found] = live
        np.testing.assert_allclose(scored, np.ravel(scores), rtol=5e-3, atol=1e-4)
    assert not slots.any()
    frequency = retriever._listed(by_name["frequency"], history, slots, None)
    counts = log.matrix(log.halved(56))[user].toarray()
    assert frequency.tolist() == top(counts, len(frequency))[0].tolist()
    assert len(pairs_of(log.take(log.users == user)).items) == len(frequency)


def test_a_purchase_the_training_never_saw_brings_its_neighbours(retriever: Retriever) -> None:
    stranger = retriever.history(user_of(bought("i3")), TIME)
    item = retriever.place_of["i3"]
    (knn,) = (i for i, source in enumerate(retriever.sources) if source.name == "item-knn")
    matrix = retriever.sources[knn].matrix
    assert matrix is not None
    near, _ = matrix.row(item)
    found = retriever.candidates(stranger, 40)
    named = set(found.items[(found.bits >> np.uint32(knn)) & 1 == 1].tolist())
    assert named
    assert named <= set(near.tolist())
    assert found.items[0] == item
    assert retriever.because(retriever.sources[knn], stranger, near[:3]).tolist() == [item] * 3


def test_what_was_looked_at_counts_as_well(retriever: Retriever) -> None:
    looked = retriever.history(user_of(bought("i3", count=0, looked_at=2)), TIME)
    assert retriever.item_ids[retriever.candidates(looked, 5).items[0]] == "i3"


def test_nobody_is_proposed_what_sold_best(retriever: Retriever, log: PurchaseLog) -> None:
    nobody = retriever.history(UserRow.unknown(), TIME)
    found = retriever.candidates(nobody, 30)
    sold = log.popularity(28)
    assert sold[found.items].tolist() == sorted(sold.tolist(), reverse=True)[:30]


@pytest.mark.parametrize("count", [1, 30, ITEMS, ITEMS + 10])
def test_candidates_are_distinct_and_as_many_as_there_are(retriever: Retriever, log: PurchaseLog, count: int) -> None:
    for user in range(0, USERS, 13):
        found = retriever.candidates(retriever.history(rows_of(log, user), TIME), count)
        assert len(found) == len(set(found.items.tolist())) == min(count, ITEMS)
        assert all(bits >> first & 1 for bits, first in zip(found.bits.tolist(), found.first.tolist(), strict=True))


def test_only_what_passes_is_proposed_and_what_sold_best_fills_up(retriever: Retriever, log: PurchaseLog) -> None:
    passing = np.zeros(ITEMS, np.bool_)
    passing[::5] = True
    found = retriever.candidates(retriever.history(rows_of(log, 3), TIME), 1_000, passing)
    assert sorted(found.items.tolist()) == np.flatnonzero(passing).tolist()


def test_items_the_catalogue_does_not_have_are_left_out(retriever: Retriever) -> None:
    history = retriever.history(user_of(bought("made since") | bought("i3")), TIME)
    assert history.items.tolist() == [retriever.place_of["i3"]]


KEYS = st.lists(st.integers(1, 2**63 - 1), unique=True, max_size=60)


@given(KEYS, KEYS)
def test_keys_are_found_where_they_are(keys: list[int], others: list[int]) -> None:
    index = KeyIndex(np.array(keys, np.int64))
    wanted = [*keys, *others]
    expected = [keys.index(key) if key in keys else -1 for key in wanted]
    assert index.find(np.array(wanted, np.int64)).tolist() == expected


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, (6, 9), elements=st.sampled_from([0, 0, 0.25, 1, 2])),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.5, 1.0, 3.0])), max_size=8),
)
def test_gather_is_the_sparse_product(dense: npt.NDArray[np.float32], chosen: list[tuple[int, float]]) -> None:
    rows, columns = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=6))]).astype(np.int32)
    csr = indptr, columns.astype(np.int32), dense[rows, columns]
    places = np.array([row for row, _ in chosen], np.int32)
    weights = np.array([weight for _, weight in chosen], np.float32)
    slots = np.zeros(9, np.int32)
    items, sums = gather(*csr, places, weights, slots)
    found = np.zeros(9, np.float32)
    found[items] = sums
    np.testing.assert_allclose(found, weights @ dense[places] if chosen else np.zeros(9))
    most = contributors(*csr, places, weights, np.arange(9, dtype=np.int32), slots)
    for item, place in enumerate(most.tolist()):
        gains = [weight * dense[row, item] for row, weight in chosen]
        assert (place < 0 and not any(gains)) or gains[place] == max(gains)
    assert not slots.any()


@given(st.lists(st.lists(st.integers(0, 9), unique=True, max_size=6), min_size=1, max_size=5))
def test_lists_are_fused_by_reciprocal_rank(lists: list[list[int]]) -> None:
    weights = np.arange(1, len(lists) + 1, dtype=np.float32)
    ends = np.cumsum([len(one) for one in lists], dtype=np.int32)
    slots = np.zeros(10, np.int32)
    joined = np.array([item for one in lists for item in one], np.int32)
    items, sums, bits, first = fuse(joined, ends, weights, OFFSET, slots)
    assert sorted(items.tolist()) == sorted({item for one in lists for item in one})
    assert not slots.any()
    for item, total, bit, source in zip(items.tolist(), sums, bits.tolist(), first.tolist(), strict=True):
        ranks = {g: one.index(item) for g, one in enumerate(lists) if item in one}
        assert total == pytest.approx(sum(weights[g] / (OFFSET + rank) for g, rank in ranks.items()), rel=1e-5)
        assert bit == sum(1 << g for g in ranks)
        assert ranks[source] == min(ranks.values())


@pytest.mark.parametrize(("user", "values"), [(0, {"age": "25-34", "income": "0"}), (1, {"age": "35-44"})])
def test_a_user_without_history_is_proposed_what_sells_to_those_of_its_traits(
    retriever: Retriever, log: PurchaseLog, traits: Traits, user: int, values: dict[str, str]
) -> None:
    (source,) = (s for s in retriever.sources if s.form == "traits")
    row = told(UserRow.unknown(), keys_of(values))
    items, live = by_traits(source, retriever.history(row, TIME))
    expected = TraitPopularity(traits).fit(log).score(np.array([user]))[0]
    assert set(items.tolist()) == set(np.flatnonzero(log.popularity(28)).tolist())
    np.testing.assert_allclose(live, expected[items], rtol=5e-3)
    found = retriever.candidates(retriever.history(row, TIME), 10)
    assert retriever.names[found.first[0]] == "traits"


def test_traits_say_nothing_of_a_user_with_a_history_nor_do_values_that_are_new(
    retriever: Retriever, log: PurchaseLog
) -> None:
    (source,) = (s for s in retriever.sources if s.form == "traits")
    keys = keys_of({"age": "25-34"})
    known = told(rows_of(log, 7), keys)
    for row in (known, UserRow.unknown(), told(UserRow.unknown(), keys_of({"age": "never told", "children": "2"}))):
        assert not len(by_traits(source, retriever.history(row, TIME))[0])
    best_sold = retriever.candidates(retriever.history(UserRow.unknown(), TIME), 10)
    assert {retriever.names[first] for first in best_sold.first} == {"popularity"}


def test_what_the_store_has_of_a_trait_stays() -> None:
    stored = told(UserRow.unknown(), keys_of({"age": "25-34"}))
    both = told(stored, keys_of({"age": "45-54", "income": "1"}))
    assert both.keys.tolist() == keys_of({"age": "25-34", "income": "1"}).tolist()


@pytest.mark.parametrize(
    ("part", "bad"),
    [
        ("lifts", np.zeros((5, 3), np.float16)),
        ("lifts", None),
        ("traits", np.array([0, 0, 0, 1, 7], np.int32)),
        ("keys", np.arange(4)),
    ],
)
def test_a_file_with_odd_traits_is_refused(
    log: PurchaseLog, traits: Traits, tmp_path: Path, part: str, bad: npt.NDArray[Any] | None
) -> None:
    sources = fit_sources(log, traits)
    arrays = sources[0].arrays
    arrays[part] = np.full_like(arrays[part], np.nan) if bad is None else bad
    write_served(tmp_path / "retrieval.npz", sources, log)
    with pytest.raises(BundleError, match="traits"):
        Sources.read(tmp_path / "retrieval.npz")
