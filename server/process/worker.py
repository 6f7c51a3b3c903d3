"""A worker process: one server of several on a port. Run by the supervisor alone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from server.app import start
from server.process import parent
from server.process.assignment import Alive, Assignment, Failed, Report, Serving
from server.telemetry import logs
from shoprank.errors import ShoprankError

BEAT_SECONDS = 1.0


def main() -> None:
    """Serve until told to stop, or until the supervisor has gone."""
    connection = Connection(int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    parent.die_with(int(sys.argv[2]))
    serve(connection, connection.recv())


def serve(connection: Connection, assignment: Assignment) -> None:
    """Do the part that was assigned."""
    logs.configure(assignment.settings.telemetry)
    if assignment.cores:
        os.sched_setaffinity(0, assignment.cores)  # before ONNX Runtime and gRPC count the cores
    try:
        place = (assignment.block, assignment.slot) if assignment.block else None
        running = start(assignment.settings, shared_port=True, place=place)
    except ShoprankError as error:
        _say(connection, Failed(error))
        sys.exit(1)
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told_to_stop.set())
    settings = assignment.settings
    parent.watch(connection, told_to_stop.set, settings.process.drain_seconds + settings.grace_seconds)
    report: Report = Serving(running.description())
    while _say(connection, report) and not told_to_stop.wait(BEAT_SECONDS):
        report = Alive()
    running.stop()


def _say(connection: Connection, report: Report) -> bool:
    """Whether the supervisor is there to hear it."""
    try:
        connection.send(report)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
