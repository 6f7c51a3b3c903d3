"""When a queue counts as one that lasts, and how refusals are allowed."""

from __future__ import annotations

import pytest

from server.process import bounds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(bounds, "monotonic", lambda: now[0])
    return now


def test_a_queue_lasts_after_the_patience_until_not_full_and_without_work(clock: list[float]) -> None:
    crowd = bounds.Crowd(patience=0.5)
    for now, lasts in ((0.3, False), (0.49, False), (0.51, True), (0.6, True)):
        clock[0] = now
        assert crowd.lasts() is lasts, now
    crowd.empty()  # all that were let in were taken at once
    clock[0] = 0.8
    assert crowd.lasts()  # not full for long, and always something to do
    crowd.idle()
    clock[0] = 0.9
    crowd.full()
    clock[0] = 1.01
    assert crowd.lasts()  # nothing to do, before it was full
    crowd.idle()
    assert not crowd.lasts()
    clock[0] = 1.4
    assert not crowd.lasts()


def test_a_queue_that_empties_in_between_is_a_burst(clock: list[float]) -> None:
    crowd = bounds.Crowd(patience=0.5)
    for i in range(100):
        clock[0] = i * 0.3
        crowd.full()
        assert not crowd.lasts()
        crowd.empty()


def test_a_pace_is_that_of_a_call_and_follows_the_latest() -> None:
    pace = bounds.Pace()
    assert pace.seconds == 0
    pace.add(8, 0.0024)
    assert pace.seconds == pytest.approx(0.0003)
    for _ in range(200):
        pace.add(1, 0.02)
    assert pace.seconds == pytest.approx(0.02, rel=0.01)


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
