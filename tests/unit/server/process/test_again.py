"""What is to be done again soon is done once, by a thread that ends where nobody asks."""

from __future__ import annotations

import time
from threading import RLock

import pytest

from server.process import again
from server.process.again import Again


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "UNUSED_SECONDS", 0.05)


def until(done: list[float], count: int) -> None:
    end = time.monotonic() + 5
    while len(done) < count:
        assert time.monotonic() < end
        time.sleep(0.002)


def test_it_is_done_once_however_often_it_is_asked_for() -> None:
    done: list[float] = []
    lock = RLock()
    soon = Again(lock, 0.05, lambda: done.append(time.monotonic()))
    began = time.monotonic()
    for _ in range(10):
        with lock:
            soon.soon()
    until(done, 1)
    assert done[0] - began >= 0.05
    time.sleep(0.1)
    assert len(done) == 1


def test_it_is_done_again_whether_its_thread_has_ended_or_not() -> None:
    done: list[float] = []
    lock = RLock()
    soon = Again(lock, 0.01, lambda: done.append(time.monotonic()))
    for count, pause in enumerate((0.0, 0.01, 0.2, 0.0), 1):
        time.sleep(pause)
        with lock:
            soon.soon()
        until(done, count)
    assert len(done) == 4


def test_it_may_ask_for_itself() -> None:
    done: list[float] = []
    lock = RLock()

    def work() -> None:
        done.append(time.monotonic())
        if len(done) < 3:
            soon.soon()

    soon = Again(lock, 0.01, work)
    with lock:
        soon.soon()
    until(done, 3)


def test_what_fails_is_logged_and_done_again(caplog: pytest.LogCaptureFixture) -> None:
    done: list[float] = []
    lock = RLock()

    def work() -> None:
        done.append(time.monotonic())
        if len(done) == 1:
            raise RuntimeError("not now")

    soon = Again(lock, 0.01, work)
    for count in (1, 2):
        with lock:
            soon.soon()
        until(done, count)
    assert "not now" in caplog.text
