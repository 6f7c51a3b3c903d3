"""Ctrl-C and other requests to end that are not lost, and that are what a command ends with.

Python raises KeyboardInterrupt wherever the main thread happens to be, and compiled code does with it as it likes.
NumPy drops what is raised as it asks an object for its array, one in a hundred of the interrupts of a training, and the
work goes on as if nobody had asked. DuckDB ends the query, and raises an error of its own instead. What cleans up
should run at SIGTERM too, by which schedulers end a job, and at SIGHUP, when its terminal has gone.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

AGAIN_SECONDS = 0.25
ENDING = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""Signals that ask a command to end, each with the handler it has where nobody set another."""
if hasattr(signal, "SIGHUP"):  # not on every system that a client runs on
    ENDING[signal.SIGHUP] = signal.SIG_DFL


class Interrupts:
    """What was heard of signals. heard: the last of them, None where there was none."""

    def __init__(self) -> None:
        self.heard: int | None = None

    @property
    def exit_code(self) -> int:
        """What a command that was asked to end is over with, as shells have it."""
        return 128 + (self.heard or signal.SIGINT)

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """The handler of what asks to end."""
        self.heard = number
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        raise KeyboardInterrupt

    def again(self, number: int, frame: FrameType | None) -> None:
        """The handler of the timer, which raises anew."""
        if self.heard is None or sys.exception() is not None:  # something is handled or cleaned up after, not dropped
            return
        if signal.getsignal(self.heard) != self.interrupt:  # the command has a way of its own to end by now
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.raise_signal(self.heard)
            return
        raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible(interrupts: Interrupts) -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT, SIGTERM and SIGHUP, and anew every 0.25 s until one is on its way out of the
    block.

    What cleans up after the first is left to end. An error that comes out of the block after an interrupt is taken for
    its doing, and KeyboardInterrupt is raised from it. A signal is left alone where it is ignored, as by a job in the
    background, or has a handler already; all are in a thread beside the main one, and on systems without such timers.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    usual = {number: handler for number, handler in ENDING.items() if signal.getsignal(number) is handler}
    alarm = signal.getsignal(signal.SIGALRM)
    try:
        signal.signal(signal.SIGALRM, interrupts.again)
        for number in usual:
            signal.signal(number, interrupts.interrupt)
        yield
    except Exception as error:
        if interrupts.heard:
            raise KeyboardInterrupt from error
        raise
    finally:
        ours = [number for number in usual if signal.getsignal(number) == interrupts.interrupt]
        for number in ours:
            signal.signal(number, signal.SIG_IGN)  # one more now would set the timer again
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        for number in ours:
            signal.signal(number, usual[number])
