"""Calls side by side: what they have in common is done once, and no call knows of the others."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from greenlet import getcurrent, greenlet

from server.process.together import apart, side_by_side, together
from server.process.turn import Turn, Turns


class Held:
    """What a call has."""


class Squares:
    """Work that notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, values: Sequence[int]) -> list[int]:
        self.asked.append(list(values))
        if 13 in values:
            raise ValueError(f"13 among {len(values)}")
        return [value * value for value in values]


def answered(work: Squares, values: Sequence[int], how: Callable[..., int] = together) -> dict[int, int | str]:
    """What calls with these values get from the work, side by side."""
    got: dict[int, int | str] = {}

    def call(value: int) -> None:
        try:
            got[value] = how(work, value)
        except ValueError as error:
            got[value] = str(error)

    side_by_side([partial(call, value) for value in values])
    return got


def test_the_work_of_several_calls_is_done_once() -> None:
    work = Squares()
    assert answered(work, [1, 2, 3]) == {1: 1, 2: 4, 3: 9}
    assert work.asked == [[1, 2, 3]]


def test_a_call_by_itself_does_its_work_at_once() -> None:
    work = Squares()
    assert together(work, 4) == apart(work, 4) == 16
    assert work.asked == [[4], [4]]


def test_work_that_fails_for_one_fails_for_no_other() -> None:
    work = Squares()
    assert answered(work, [2, 13, 3]) == {2: 4, 13: "13 among 1", 3: 9}
    assert work.asked == [[2, 13, 3], [2], [13], [3]]


def test_calls_may_wait_again_and_end_without_waiting() -> None:
    work, got = Squares(), []

    def twice(value: int) -> None:
        got.append(together(work, together(work, value)))

    side_by_side([partial(twice, 2), lambda: got.append(0), partial(twice, 3)])
    assert got == [0, 16, 81]
    assert work.asked == [[2, 3], [4, 9]]


def test_works_of_different_kinds_are_not_mixed() -> None:
    one, other, got = Squares(), Squares(), []
    calls: list[Callable[[], None]] = [
        lambda: got.append(together(one, 2)),
        lambda: got.append(together(other, 3)),
        lambda: got.append(together(one, 4)),
    ]
    side_by_side(calls)
    assert sorted(got) == [4, 9, 16]
    assert (one.asked, other.asked) == ([[2, 4]], [[3]])


def test_what_takes_long_is_done_one_by_one_after_the_others() -> None:
    order: list[str] = []

    def work(name: str, values: Sequence[int]) -> Sequence[int]:
        order.append(f"{name} {len(values)}")
        return values

    long, short = partial(work, "long"), partial(work, "short")

    def call(how: Callable[..., int], work: Callable[[Sequence[int]], Sequence[int]]) -> None:
        how(work, 1)
        order.append("went on")

    side_by_side([partial(call, apart, long), partial(call, together, short), partial(call, apart, long)])
    assert order == ["short 1", "went on", "long 1", "went on", "long 1", "went on"]


def test_a_thread_steps_aside_before_what_takes_long() -> None:
    turns = Turns()
    turn = Turn(turns)
    turn.take()
    held: list[bool] = []

    def look(values: Sequence[int]) -> Sequence[int]:
        held.append(turn.mine)
        return values

    def both() -> None:
        together(look, 1)
        apart(look, 1)

    side_by_side([both, both])
    assert held == [True, False, False]
    assert not turn.mine
    turn.take()
    apart(look, 1)
    assert held[3:] == [False]


def test_greenlets_are_kept_for_the_next_calls_and_hold_none_of_them() -> None:
    here: list[greenlet] = []
    held: list[weakref.ref[Held]] = []

    def call(holds: Held) -> None:
        held.append(weakref.ref(holds))
        here.append(getcurrent())
        together(list, 1)

    for _ in range(3):
        side_by_side([partial(call, Held()) for _ in range(4)])
    assert len(set(map(id, here[4:]))) == 4
    assert {id(one) for one in here[4:8]} == {id(one) for one in here[8:]}
    gc.collect()
    assert [one() for one in held] == [None] * 12


def test_a_call_that_raises_takes_its_greenlet_with_it() -> None:
    def call() -> None:
        raise KeyError("lost")

    for _ in range(3):
        with pytest.raises(KeyError):
            side_by_side([call, call])
        assert answered(Squares(), [2, 3]) == {2: 4, 3: 9}


def test_what_a_call_raises_reaches_the_thread() -> None:
    def call() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        side_by_side([call, call])
