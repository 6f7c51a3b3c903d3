"""Ends a worker whose supervisor has gone, however it went."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

PR_SET_PDEATHSIG = 1
MARGIN = 5
"""Seconds after the grace period at which the kernel ends a worker that hangs."""


def die_with(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies; see prctl(2). Ends the process where it has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)


def watch(connection: Connection, gone: Callable[[], None], grace: float) -> None:
    """Call `gone` once the supervisor's end of the connection is closed; the process ends soon after in any case."""

    def run() -> None:
        with contextlib.suppress(EOFError, OSError):
            connection.poll(None)
        signal.alarm(math.ceil(grace) + MARGIN)  # its default action needs no thread of ours to run
        gone()

    threading.Thread(target=run, name="lifeline", daemon=True).start()
