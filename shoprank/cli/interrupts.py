"""Ctrl-C that is not lost, and that is what a command ends with.

Python raises KeyboardInterrupt wherever the main thread happens to be, and compiled code does with it as it likes.
NumPy drops what is raised as it asks an object for its array, one in a hundred of the interrupts of a training, and the
work goes on as if nobody had asked. DuckDB ends the query, and raises an error of its own instead.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

AGAIN_SECONDS = 0.25


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT, and anew every 0.25 s until one is on its way out of the block.

    What cleans up after the first is left to end. An error that comes out of the block after an interrupt is taken for
    its doing, and KeyboardInterrupt is raised from it. Does nothing where SIGINT is ignored, as in a job in the
    background, or has a handler already, in a thread beside the main one, and on systems without such timers.
    """
    in_main = threading.current_thread() is threading.main_thread()
    as_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not (in_main and as_usual and hasattr(signal, "setitimer")):
        yield
        return
    interrupts, alarm = _Interrupts(), signal.getsignal(signal.SIGALRM)
    try:
        signal.signal(signal.SIGALRM, interrupts.again)
        signal.signal(signal.SIGINT, interrupts.interrupt)
        yield
    except Exception as error:
        if interrupts.heard:
            raise KeyboardInterrupt from error
        raise
    finally:
        if ours := signal.getsignal(signal.SIGINT) == interrupts.interrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # one more now would set the timer again
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Interrupts:
    """The handlers of signals. heard: whether there was an interrupt."""

    def __init__(self) -> None:
        self.heard = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        self.heard = True
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        raise KeyboardInterrupt

    def again(self, number: int, frame: FrameType | None) -> None:
        if sys.exception() is not None:  # something is being handled or cleaned up after: nothing was dropped
            return
        if signal.getsignal(signal.SIGINT) != self.interrupt:  # the command has a way of its own to end by now
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.raise_signal(signal.SIGINT)
            return
        raise KeyboardInterrupt
