"""How long a thread with nothing to do stays awake."""

from __future__ import annotations

from server.process.wakefulness import LEAST, Wakefulness


def test_a_thread_stays_awake_longer_the_more_calls_come_fast_and_sleeps_when_one_does_not() -> None:
    wakefulness = Wakefulness(2e-4)
    assert wakefulness.seconds == 0
    seen = []
    for _ in range(5):
        wakefulness.waited(1e-4)
        seen.append(wakefulness.seconds)
    assert seen == [LEAST, 2 * LEAST, 4 * LEAST, 2e-4, 2e-4]
    wakefulness.waited(1e-3)
    assert wakefulness.seconds == 0


def test_it_can_be_turned_off() -> None:
    wakefulness = Wakefulness(0.0)
    for _ in range(3):
        wakefulness.waited(1e-5)
        assert wakefulness.seconds == 0
