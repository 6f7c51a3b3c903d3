"""Ctrl-C that is not lost.

Python raises KeyboardInterrupt wherever the main thread happens to be, and some compiled code drops what is raised
inside it: NumPy, as it asks an object for its array, one in a hundred of the interrupts of a training. The work then
goes on as if nobody had asked.
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
def interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT, and anew every 0.25 s until one is on its way out of the block.

    What cleans up after the first is left to end. Does nothing where SIGINT is ignored, as in a job in the background,
    or has a handler already, and in a thread beside the main one.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    alarm = signal.signal(signal.SIGALRM, _again)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
    raise KeyboardInterrupt


def _again(number: int, frame: FrameType | None) -> None:
    handled = sys.exception()
    while handled is not None:
        if isinstance(handled, KeyboardInterrupt):
            return
        handled = handled.__context__
    raise KeyboardInterrupt
