"""One thread at a time has its turn, and loses it where it is busy for too long."""

from __future__ import annotations

import threading
import time

from server.process.turn import OVERDUE_SECONDS, Turn, Turns


def test_another_waits_for_its_turn() -> None:
    turns, order = Turns(), []
    mine = Turn(turns)
    assert mine.take() is False
    assert mine.take() is False

    def other() -> None:
        turn = Turn(turns)
        order.append(turn.take())
        turn.leave()

    thread = threading.Thread(target=other)
    thread.start()
    time.sleep(3 * OVERDUE_SECONDS)
    assert order == []
    mine.leave()
    thread.join(5)
    assert order == [False]
    assert not mine.mine
    assert mine.take() is False


def test_who_is_busy_for_too_long_loses_its_turn() -> None:
    turns = Turns()
    mine, taken = Turn(turns), threading.Event()
    mine.take()
    mine.busy()

    def other() -> None:
        turn = Turn(turns)
        assert turn.take() is True
        taken.set()
        time.sleep(2 * OVERDUE_SECONDS)
        turn.leave()

    thread = threading.Thread(target=other)
    thread.start()
    assert taken.wait(5)
    assert not mine.mine
    mine.leave()  # changes nothing: it is another's
    assert mine.take() is False  # once the other has left
    thread.join(5)
    assert mine.mine
