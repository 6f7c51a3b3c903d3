"""What bounds the candidates."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import scipy.sparse as sp

from training.ranking.recall import foretold, foretold_within
from training.ranking.slate import Week
from training.retrieval.log import Catalogue, PurchaseLog, unseen


def test_best_sellers_of_the_week_fill_the_places_that_the_history_leaves() -> None:
    owned = sp.csr_matrix(np.array([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], np.float32))
    truth = sp.csr_matrix(np.array([[1, 0, 1, 1, 0, 0], [0, 0, 1, 0, 1, 0], [0, 0, 1, 0, 1, 0]], np.float32))
    log = PurchaseLog.__new__(PurchaseLog)  # nothing of it is read
    week = Week(datetime(2024, 1, 1), log, np.arange(3), truth, unseen(truth, owned), owned)
    # Sales: item 2 three, item 4 two, items 0 and 3 one each.
    assert foretold(np.arange(3), week, 3).tolist() == [1, 2, 2]
    assert foretold(np.arange(3), week, 1).tolist() == [0, 1, 0]
    assert foretold(np.array([2, 0]), week, 4).tolist() == [2, 1]


def test_whoever_knows_the_departments_keeps_to_them() -> None:
    owned = sp.csr_matrix(np.array([[0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.float32))
    truth = sp.csr_matrix(np.array([[1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], [1, 0, 0, 1, 1, 0]], np.float32))
    departments = {"department": np.array(["a", "a", "a", "b", "b", "c"], object)}
    items = np.array([f"i{n}" for n in range(6)], object)
    catalogue = Catalogue(np.array(["u", "v", "w"], object), items, np.arange(6), departments)
    log = PurchaseLog.__new__(PurchaseLog)
    object.__setattr__(log, "catalogue", catalogue)
    week = Week(datetime(2024, 1, 1), log, np.arange(3), truth, unseen(truth, owned), owned)
    # Sales: item 0 three, item 3 two, items 1 and 4 one each. The first buys from a alone, where it had items 1 and 2.
    assert foretold_within("department", np.arange(3), week, 1).tolist() == [1, 1, 1]
    assert foretold_within("department", np.arange(3), week, 2).tolist() == [1, 2, 2]
    assert foretold_within("department", np.arange(3), week, 3).tolist() == [2, 2, 2]
    assert foretold_within("department", np.arange(3), week, 4).tolist() == [2, 2, 3]
