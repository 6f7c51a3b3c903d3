"""Rows count for as long as the window is, and for the model they were scored by."""

from __future__ import annotations

import numpy as np

from feature_repo.reference import CATEGORICAL_BINS, NUMERIC_BINS, Counts
from server.telemetry.window import CATEGORICAL, NUMERIC, PARTS, Window, unpacked


def counts(n: int) -> Counts:
    return Counts(
        np.full((NUMERIC, NUMERIC_BINS), n), np.full((CATEGORICAL, CATEGORICAL_BINS), n + 1), np.full(NUMERIC_BINS, n)
    )


def total(window: Window, stretch: int, version: int = 1) -> int:
    return int(unpacked(window.total(stretch, version)).score[0])


def test_counts_come_back_as_they_were_put_in() -> None:
    window = Window.private()
    window.add(counts(3), 100, 1)
    window.add(counts(4), 101, 1)
    found = unpacked(window.total(101, 1))
    assert (found.numeric == 7).all()
    assert (found.categorical == 9).all()
    assert (found.score == 7).all()


def test_rows_leave_the_window_when_its_time_has_passed() -> None:
    window = Window.private()
    window.add(counts(1), 100, 1)
    assert total(window, 100 + PARTS - 1) == 1
    assert total(window, 100 + PARTS) == 0
    window.add(counts(1), 100 + PARTS, 1)
    assert total(window, 100 + PARTS) == 1, "the part was not emptied before it was used again"


def test_rows_of_another_version_do_not_count_and_a_new_one_starts_at_none() -> None:
    window = Window.private()
    window.add(counts(5), 100, 1)
    window.add(counts(2), 101, 2)
    assert (total(window, 101, 1), total(window, 101, 2)) == (5, 2)
    window.add(counts(1), 100, 2)
    assert (total(window, 101, 1), total(window, 101, 2)) == (0, 3)
