"""A worker process: one server of several on a port. Run by the supervisor alone."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from feature_repo.parent import die_with
from server.app import start
from server.process.assignment import Alive, Assignment, Failed, Report, Serving
from server.process.lifeline import Lifeline
from server.telemetry import logs
from shoprank.errors import ShoprankError

BEAT_SECONDS = 1.0


def main() -> None:
    """Serve until told to stop, or until the supervisor has gone."""
    connection = Connection(int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    die_with(int(sys.argv[2]))
    serve(Lifeline(connection), connection.recv())


def serve(lifeline: Lifeline, assignment: Assignment) -> None:
    """Do the part that was assigned."""
    logs.configure(assignment.settings.telemetry)
    if assignment.cores:
        os.sched_setaffinity(0, assignment.cores)  # before ONNX Runtime and gRPC count the cores
    try:
        place = (assignment.block, assignment.slot) if assignment.block else None
        running = start(assignment.settings, True, place, lifeline, assignment.pseudonym_key)
    except ShoprankError as error:
        lifeline.say(Failed(error))
        sys.exit(1)
    gc.freeze()  # as in `serve`
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told_to_stop.set())
    settings = assignment.settings
    lifeline.watch(told_to_stop.set, settings.process.drain_seconds + settings.grace_seconds)
    report: Report = Serving(running.description())
    while lifeline.say(report) and not told_to_stop.wait(BEAT_SECONDS):
        report = Alive()
    running.stop()
    gc.unfreeze()  # as in `serve`


if __name__ == "__main__":
    main()
