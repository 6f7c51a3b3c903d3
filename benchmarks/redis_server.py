"""A private Redis on the loopback, for a benchmark's time."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis


@contextmanager
def redis_server(folder: Path, cores: Collection[int] | None = None) -> Iterator[int]:
    """A Redis on a free port of the loopback, and that port; on these cores where they are given.

    It starts with the snapshot in `folder` if one was saved there, and saves none by itself.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("bench: redis-server is not installed (Debian: apt-get install redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if cores:
        os.sched_setaffinity(server.pid, cores)
    try:
        _wait(port)
        yield port
    finally:
        server.terminate()
        server.wait(30)


def _wait(port: int) -> None:
    """Until it answers, its snapshot loaded."""
    with redis.Redis(port=port) as client:
        for _ in range(600):
            try:
                client.ping()
                return
            except (redis.ConnectionError, redis.BusyLoadingError):
                time.sleep(0.05)
    raise SystemExit("bench: redis-server did not start")
