"""The `shoprank` command: a thin edge over the Python API; each command imports what it needs when it runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

OWN_POLLING = {"GRPC_EXPERIMENTS": "-event_engine_listener"}
"""A server's core then watches its connections on the threads that answer, without a hand-over from threads of its own
(docs/decisions/0015-transport.md). gRPC reads it from the environment as it is imported."""
QUIET = {"GRPC_VERBOSITY": "NONE"}
"""gRPC's core then does not write a line of its own for whatever a stranger sends a server."""
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads of OpenMP (LightGBM, implicit, Faiss) then sleep while they wait for each other. As it comes they spin, which
takes longer where others use the processors too. It is read as the first of these is imported."""
INTERRUPTED = 130


def main() -> None:
    """Run the command line. Exit code 2 for a user's mistake, 1 for a failure, 130 after Ctrl-C."""
    for name, value in (OWN_POLLING | QUIET | PATIENT).items():
        os.environ.setdefault(name, value)
    in_main = threading.current_thread() is threading.main_thread()
    if as_usual := in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)  # nothing is begun yet that would have to be cleaned up after
    try:
        from shoprank.cli.command import run
    except ModuleNotFoundError as missing:
        sys.exit(f"shoprank: the command line needs {missing.name}; install shoprank[cli]")
    finally:
        if as_usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
