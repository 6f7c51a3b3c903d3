"""The end of listening, ahead of the end of a server."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

OPEN_FILES = Path("/proc/self/fd")
"""Where Linux lists a process's open files by number; see proc(5)."""


def stop_listening(port: int) -> int:
    """Stop this process's sockets from listening on the port, and return how many did.

    gRPC asks its clients to go and stops listening in one step. A client that connects anew at once may then get to the
    socket that is about to close, and is reset, though another process listens on the port. What is connected stays.
    gRPC writes a line to standard error: `Closing acceptor. Failed accept4: Invalid argument`.
    """
    stopped = 0
    for entry in OPEN_FILES.iterdir() if OPEN_FILES.is_dir() else ():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as one:
            listens = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if listens and one.family in (socket.AF_INET, socket.AF_INET6) and one.getsockname()[1] == port:
                one.shutdown(socket.SHUT_RD)
                stopped += 1
    return stopped
