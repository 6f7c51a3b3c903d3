"""A worker's connection to its supervisor: what it says, what it hears of the other workers, and its end."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection

from server.models.processes import ProcessState
from server.process.assignment import Loaded, Report

MARGIN = 5
"""Seconds after the grace period at which the kernel ends a worker that hangs."""


class Lifeline:
    """The worker's end. To the models it is where processes tell each other what they have loaded.

    connection: to the supervisor, which has sent the assignment by it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._own: dict[str, ProcessState] = {}
        self._others: Mapping[str, Sequence[ProcessState]] = {}

    def say(self, report: Report) -> bool:
        """Whether the supervisor is there to hear it."""
        try:
            with self._lock:
                self._connection.send(report)
        except OSError:
            return False
        return True

    def publish(self, model: str, state: ProcessState) -> None:
        """See `Processes.publish`."""
        self._own[model] = state
        self.say(Loaded(model, state))

    def states(self, model: str) -> Sequence[ProcessState]:
        """See `Processes.states`."""
        own = self._own.get(model, ProcessState(os.getpid(), None, ()))
        return (own, *(state for state in self._others.get(model, ()) if state.pid != own.pid))

    def watch(self, gone: Callable[[], None], grace: float) -> None:
        """Listen from now on. Calls `gone` once the supervisor has gone; the process ends soon after in any case."""

        def run() -> None:
            try:
                while True:
                    self._others = self._connection.recv()
            except (EOFError, OSError):
                signal.alarm(math.ceil(grace) + MARGIN)  # its default action needs no thread of ours to run
                gone()

        threading.Thread(target=run, name="lifeline", daemon=True).start()
