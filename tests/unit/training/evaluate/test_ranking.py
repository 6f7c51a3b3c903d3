"""Recall@K and NDCG@K by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluate.ranking import Slates, ranking_metrics


def test_a_perfect_ranking_scores_one() -> None:
    top = {"a": np.array(["x", "y"])}
    assert ranking_metrics(top, {"a": frozenset({"x", "y"})}, [2]) == {"recall@2": 1.0, "ndcg@2": 1.0}


def test_a_hit_in_second_place_is_discounted() -> None:
    got = ranking_metrics({"a": np.array(["n", "x"])}, {"a": frozenset({"x"})}, [1, 2])
    assert got["ndcg@2"] == pytest.approx(1 / math.log2(3))
    assert got["ndcg@1"] == 0.0


def test_a_user_without_candidates_counts_as_missed() -> None:
    got = ranking_metrics({"a": np.array(["x"])}, {"a": frozenset({"x"}), "b": frozenset({"x"})}, [1])
    assert got == {"recall@1": 0.5, "ndcg@1": 0.5}


def test_ndcg_is_held_against_the_best_that_k_places_allow() -> None:
    truth = {"a": frozenset(f"t{i}" for i in range(30))}
    got = ranking_metrics({"a": np.array([f"t{i}" for i in range(10)])}, truth, [10])
    assert got["ndcg@10"] == pytest.approx(1.0)
    assert got["recall@10"] == pytest.approx(1 / 3)


def test_equal_scores_keep_their_order_and_users_do_not_mix() -> None:
    slates = Slates(np.array(["a", "a", "b", "b"]), np.array(["1", "2", "3", "4"]))
    best = slates.top(np.array([1.0, 1.0, 0.0, 5.0]), 2)
    assert {u: i.tolist() for u, i in best.items()} == {"a": ["1", "2"], "b": ["4", "3"]}
