"""Serves until told to stop: in this process, or with worker processes of its own."""

from __future__ import annotations

import gc
import logging
import signal
import threading
from collections.abc import Callable

from server.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, ready: Callable[[str, str], None]) -> None:
    """Serve until SIGTERM or SIGINT, of one process SIGHUP too, then stop gracefully. Runs in the main thread.

    ready: called with what is served and the address once calls are answered. Raises as `server.app.start` does.
    """
    if settings.process.workers == 1:
        _alone(settings, ready)
        return
    from server.process.supervisor import Supervisor

    Supervisor(settings, ready).run()


def _alone(settings: Settings, ready: Callable[[str, str], None]) -> None:
    from server.app import start  # a supervisor does without the weight of what its workers import

    told_to_stop = threading.Event()
    running = start(settings)
    gc.freeze()  # what was imported and loaded stays: no collection needs to go through it while calls wait
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: told_to_stop.set())
    ready(running.description(), running.address)
    told_to_stop.wait()
    log.info("stopping")
    running.stop()
    gc.unfreeze()  # what is left to the end of the process, DuckDB calls leaked on standard error, item by item
