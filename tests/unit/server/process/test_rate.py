"""Token buckets."""

from __future__ import annotations

import pytest

from server.process.rate import Rates


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_the_rate() -> None:
    clock = Clock()
    rates = Rates(per_second=8, burst=3, clients=5, clock=clock)
    assert [rates.take("a") for _ in range(3)] == [0, 0, 0]
    assert rates.take("a") == pytest.approx(0.125)
    clock.now += 0.125
    assert rates.take("a") == 0
    assert rates.take("a") > 0


def test_clients_do_not_share_a_bucket() -> None:
    rates = Rates(per_second=1, burst=1, clients=5, clock=Clock())
    assert rates.take("a") == 0
    assert rates.take("b") == 0
    assert rates.take("a") > 0


def test_time_saves_no_more_than_the_burst() -> None:
    clock = Clock()
    rates = Rates(per_second=10, burst=2, clients=5, clock=clock)
    clock.now += 1_000
    assert [rates.take("a") > 0 for _ in range(3)] == [False, False, True]


def test_the_client_that_has_not_asked_for_longest_is_forgotten() -> None:
    rates = Rates(per_second=1, burst=1, clients=2, clock=Clock())
    assert [rates.take(client) for client in "abca"] == [0, 0, 0, 0]
    assert rates.take("c") > 0


def test_what_is_taken_beyond_what_there_is_is_owed() -> None:
    clock = Clock()
    rates = Rates(per_second=10, burst=5, clients=5, clock=clock)
    assert rates.take("a", 25) == 0
    assert rates.take("a") == pytest.approx(2.1)  # 20 that are owed, and one
    clock.now += 2.05
    assert rates.take("a", 3) == pytest.approx(0.05)
    clock.now += 0.06
    assert rates.take("a", 3) == 0


def test_what_is_owed_is_taken_whether_it_is_there_or_not() -> None:
    rates = Rates(per_second=4, burst=2, clients=5, clock=Clock())
    rates.owe("a", 3)
    assert rates.take("a") == pytest.approx(0.5)
    assert rates.take("b") == 0
