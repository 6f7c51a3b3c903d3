"""How many calls there is room for, by how long they wait."""

from __future__ import annotations

import pytest

from server.process import bounds
from server.process.room import Room

BOUNDS = bounds.Bounds(
    threads=2, burst=32, queue=6, patience=0.5, refusals=100, retry_after=1, request_seconds=5,
    burst_seconds=0.05,
)  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(bounds, "monotonic", lambda: now[0])
    return now


def room(milliseconds: float) -> Room:
    """Of a server whose calls take so long."""
    made = Room(BOUNDS)
    made.pace.add(1, milliseconds / 1e3)
    return made


def test_as_many_brief_calls_may_wait_as_have_their_turn_soon(clock: list[float]) -> None:
    assert room(0.25).left(busy=2, waiting=0) == 200
    assert room(0.25).left(busy=2, waiting=150) == 50
    assert room(0.25).left(busy=2, waiting=220) == -20


def test_some_may_wait_however_long_each_takes(clock: list[float]) -> None:
    assert room(500).left(busy=2, waiting=0) == 32
    assert Room(BOUNDS).left(busy=0, waiting=0) == 34  # none was measured; two threads are free


def test_fewer_may_once_the_queue_lasts_and_as_many_as_before_when_it_was_not_full_for_long(clock: list[float]) -> None:
    brief, long = room(0.1), room(5)
    for now in (0.0, 0.3, 0.6):
        clock[0] = now
        left = brief.left(busy=2, waiting=3), long.left(busy=2, waiting=3)
    assert left == (6 - 3, 6 - 3)
    clock[0] = 0.65
    assert long.left(busy=2, waiting=6) == 0
    for one in (brief, long):
        one.crowd.idle()
    clock[0] = 0.72
    assert brief.left(busy=2, waiting=3) == 500 - 3
    assert long.left(busy=2, waiting=3) == 6 - 3


def test_a_call_that_comes_after_a_pause_finds_no_queue(clock: list[float]) -> None:
    brief = room(0.1)
    assert brief.left(busy=0, waiting=0, coming=1) == 500 + 2 - 1
    for now in (10.0, 10.6, 20.0):  # each longer after the last than the patience
        clock[0] = now
        assert brief.left(busy=0, waiting=0, coming=1) == 500 + 2 - 1


def test_what_would_wait_for_another_piece_is_too_much_once_the_queue_lasts(clock: list[float]) -> None:
    brief = room(0.1)
    assert [brief.over(left) for left in (0, -1, -2, -3)] == [False, False, False, True]  # threads that are nearly done
    for now in (0.0, 0.3, 0.6):
        clock[0] = now
        brief.left(busy=2, waiting=3)
    assert [brief.over(left) for left in (0, -1)] == [False, True]
