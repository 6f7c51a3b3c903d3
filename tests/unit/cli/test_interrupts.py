"""An interrupt ends the work even where it was dropped on its way, and what cleans up after it is left to end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

import duckdb
import pytest

from shoprank.cli.interrupts import AGAIN_SECONDS, Interrupts, interruptible


@pytest.fixture(autouse=True)
def person_at_a_terminal() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where the tests run in the background and it would be ignored."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # it is raised in here


def test_interrupt_that_was_dropped_is_raised_again() -> None:
    def work() -> None:
        with contextlib.suppress(KeyboardInterrupt):  # as compiled code does
            interrupt()
        with contextlib.suppress(KeyboardInterrupt):  # the one that is raised again
            time.sleep(10 * AGAIN_SECONDS)
        time.sleep(10 * AGAIN_SECONDS)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interruptible(Interrupts()):
        work()
    assert time.monotonic() - began < 5 * AGAIN_SECONDS


def test_what_cleans_up_is_not_interrupted_again() -> None:
    cleaned = []

    def clean() -> None:
        try:
            raise ValueError("a fault of the cleaning itself, which is mended")
        except ValueError:
            time.sleep(1.5 * AGAIN_SECONDS)
        time.sleep(1.5 * AGAIN_SECONDS)
        cleaned.append(True)

    @contextlib.contextmanager
    def scratch() -> Iterator[None]:
        try:
            yield
        finally:
            clean()

    def work() -> None:
        try:
            with scratch():
                interrupt()
        except KeyboardInterrupt:
            clean()
            raise SystemExit(130) from None

    with pytest.raises(SystemExit), interruptible(Interrupts()):
        work()
    assert cleaned == [True, True]


def test_interrupted_query_of_duckdb_is_an_interrupt() -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    connection = duckdb.connect(config={"threads": 1})  # with more it may not look for signals before its end
    with pytest.raises(KeyboardInterrupt), interruptible(Interrupts()):
        connection.execute("SELECT sum(a.range * b.range) FROM range(10_000_000) a, range(1_000_000) b")


def test_what_cleans_up_within_an_iterator_is_not_interrupted_again() -> None:
    cleaned = []

    def rows() -> Iterator[int]:
        try:
            yield 1
        finally:  # where a GeneratorExit is handled, and no interrupt
            time.sleep(3 * AGAIN_SECONDS)
            cleaned.append(True)

    def work() -> None:
        for _ in rows():
            interrupt()

    with pytest.raises(KeyboardInterrupt), interruptible(Interrupts()):
        work()
    assert cleaned == [True]


def test_dropped_interrupt_goes_the_way_that_the_command_has_to_end_by_then() -> None:
    told = []

    def work() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            interrupt()
        signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
        time.sleep(3 * AGAIN_SECONDS)

    with interruptible(Interrupts()):
        work()
    assert told == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler


def test_error_without_an_interrupt_is_that_error() -> None:
    with pytest.raises(RuntimeError), interruptible(Interrupts()):
        raise RuntimeError("a failure")


def test_nothing_is_left_behind() -> None:
    alarm = signal.getsignal(signal.SIGALRM)
    with pytest.raises(KeyboardInterrupt), interruptible(Interrupts()):
        interrupt()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is alarm
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_job_in_the_background_goes_on_ignoring_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible(Interrupts()):
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_thread_beside_the_main_one_changes_no_handler() -> None:
    during = []

    def work() -> None:
        with interruptible(Interrupts()):
            during.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [signal.default_int_handler]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_is_cleaned_up_after_and_leaves_no_handler(
    number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    former = signal.signal(number, signal.SIG_DFL)  # these tests may themselves outlive their terminal
    request.addfinalizer(lambda: signal.signal(number, former))
    interrupts, cleaned = Interrupts(), []

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(1)
        finally:
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt), interruptible(interrupts):
        work()
    assert (cleaned, interrupts.heard, interrupts.exit_code) == ([True], number, 128 + number)
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_job_that_outlives_its_terminal_goes_on_ignoring_its_end() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(Interrupts()):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)
