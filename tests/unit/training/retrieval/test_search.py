"""The approximate search finds nearly what the exact one does."""

from __future__ import annotations

import numpy as np
import pytest

from training.retrieval.log import F32
from training.retrieval.search import EXACT_UP_TO, FOUND, Approximate, Exact, index_of, probing


def vectors(n: int, seed: int, clusters: int = 40) -> F32:
    """Vectors in clusters, as learned ones are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(0, 2, (clusters, 16))
    return (centres[rng.integers(0, clusters, n)] + rng.normal(0, 0.7, (n, 16))).astype(np.float32)


def test_the_exact_search_is_the_order_of_the_products() -> None:
    items, queries = vectors(3_000, 0), vectors(300, 1)
    found, products = Exact(items).search(queries, 10)
    expected = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(products, np.take_along_axis(queries @ items.T, expected, 1), rtol=1e-5)


def test_the_approximate_search_finds_more_the_more_cells_it_looks_into() -> None:
    items, queries = vectors(20_000, 0), vectors(200, 1)
    exact, index = Exact(items).search(queries, 100)[0], Approximate(items)
    recall = []
    for probes in (1, 8, 10_000):
        found = index.search(queries, 100, probes)[0]
        recall.append(np.mean([len(np.intersect1d(a, b)) / 100 for a, b in zip(exact, found, strict=True)]))
    assert recall[0] < recall[1] <= recall[2]
    assert recall[1] > 0.9
    assert recall[2] == 1


def test_as_many_cells_are_looked_into_as_find_what_is_wanted_and_no_more() -> None:
    items, queries = vectors(60_000, 0, clusters=3_000), vectors(200, 1, clusters=3_000)
    index = Approximate(items)
    how = probing(index, items, queries)
    exact = Exact(items).search(queries, 500)[0]

    def found(probes: int) -> float:
        near = index.search(queries, 500, probes)[0]
        return float(np.mean([len(np.intersect1d(a, b)) / 500 for a, b in zip(exact, near, strict=True)]))

    assert how.cells == index.cells
    assert 16 < how.probes < how.cells
    assert found(how.probes // 2) < FOUND <= found(how.probes)
    assert how.recall == pytest.approx(found(how.probes))
    assert str(how) == f"looks into {how.probes} of {how.cells} cells and finds {how.recall:.1%} of what lies in all"


def test_of_few_cells_all_are_looked_into() -> None:
    items = vectors(600, 0)
    how = probing(Approximate(items), items, items[:5])
    assert (how.probes, how.recall) == (how.cells, 1)


def test_the_approximate_search_is_the_same_each_time() -> None:
    items, queries = vectors(5_000, 0), vectors(50, 1)
    first, second = (Approximate(items).search(queries, 20, 4)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_catalogue_of_a_few_items_is_one_cell() -> None:
    items = vectors(10, 0)
    found, _ = Approximate(items).search(items[:2], 10)
    assert sorted(found[0].tolist()) == list(range(10))


def test_the_search_is_exact_up_to_a_hundred_thousand_items() -> None:
    rng = np.random.default_rng(0)
    assert isinstance(index_of(rng.normal(size=(EXACT_UP_TO, 2)).astype(np.float32)), Exact)
    assert isinstance(index_of(rng.normal(size=(EXACT_UP_TO + 1, 2)).astype(np.float32)), Approximate)
