"""When a queue counts as one that lasts, and how refusals are allowed."""

from __future__ import annotations

import pytest

from server.process import bounds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(bounds, "monotonic", lambda: now[0])
    return now


def test_a_queue_lasts_after_the_patience_and_until_it_was_short_for_long(clock: list[float]) -> None:
    crowd = bounds.Crowd(queue=4, patience=0.1)
    assert not crowd.lasts(20)
    clock[0] = 0.09
    assert not crowd.lasts(20)
    clock[0] = 0.11
    assert crowd.lasts(20)
    clock[0] = 0.5
    assert crowd.lasts(0)
    clock[0] = 1.0
    assert crowd.lasts(4)
    clock[0] = 1.9
    assert crowd.lasts(3)
    clock[0] = 2.1
    assert not crowd.lasts(3)


def test_a_queue_that_empties_in_between_is_a_burst(clock: list[float]) -> None:
    crowd = bounds.Crowd(queue=4, patience=0.1)
    for i in range(100):
        clock[0] = i * 0.05
        assert not crowd.lasts(i % 2 * 30)


def test_an_allowance_keeps_a_tenth_of_a_second(clock: list[float]) -> None:
    allowance = bounds.Allowance(100)
    clock[0] = 50
    assert allowance.left() == 10
    for _ in range(10):
        allowance.spend()
    assert allowance.left() == 0
    clock[0] += 0.03125
    assert allowance.left() == 3


def test_no_allowance_allows_nothing(clock: list[float]) -> None:
    allowance = bounds.Allowance(0)
    clock[0] = 1_000
    assert allowance.left() == 0


def test_calls_without_a_request_count_for_a_moment_and_are_overdue_once(clock: list[float]) -> None:
    awaited = bounds.Awaited[str](patience=10)
    awaited.add("a")
    awaited.add("b")
    clock[0] = 0.01
    awaited.add("c")
    awaited.remove("b")
    assert awaited.fresh() == 2
    clock[0] = 0.055
    assert awaited.fresh() == 1
    clock[0] = 10.005
    assert awaited.fresh() == 0
    assert awaited.overdue() == ["a"]
    assert awaited.overdue() == []
    awaited.remove("a")
    awaited.remove("c")
    clock[0] = 100
    assert awaited.overdue() == []
