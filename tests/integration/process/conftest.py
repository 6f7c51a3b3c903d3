"""Servers in processes of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import psutil
import pytest

from tests.conftest import Shop
from tests.serving import Serve, Served, ended, eventually

LOGGED = {
    f"SHOPRANK_TELEMETRY__{name}": value
    for name, value in {
        "LOG_FORMAT": "json", "LOG_CALLS": "true", "LOG_USERS": "true", "LOG_LINES_PER_SECOND": "1000"
    }.items()
}  # fmt: skip
"""A line for every call, with the pseudonym of its user."""


@contextlib.contextmanager
def starting(shop: Shop) -> Iterator[Serve]:
    """Starts servers of the shop on free ports; ends them all."""
    with contextlib.ExitStack() as stack:

        def run(*arguments: str, wait: bool = True, **environment: str) -> Served:
            log = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
            folders = ["--data", str(shop.paths.root), "--model-repository", str(shop.models)]
            process = subprocess.Popen(
                [sys.executable, "-m", "shoprank", "serve", *folders, "--clock", "snapshot", "--port", "0", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | environment,
            )
            served = Served(process, "", log)
            stack.callback(ended, served)
            assert process.stdout is not None
            if wait:
                served.ready = process.stdout.readline().strip()
                assert served.ready, served.said()
            return served

        yield run


@pytest.fixture
def serve(trained: Shop) -> Iterator[Serve]:
    """Starts servers of the shop on free ports; ends them all."""
    with starting(trained) as serve:
        yield serve


@pytest.fixture(scope="package")
def two_workers(trained: Shop) -> Iterator[Served]:
    """A server of two workers that tests share. When it is told to stop, it ends with 0 and leaves no worker."""
    with starting(trained) as serve:
        served = serve("--workers", "2", wait=True, SHOPRANK_PROCESS__RESTART_SECONDS="0", **LOGGED)
        yield served
        workers = served.workers()
        assert len(workers) == 2
        assert served.stop() == 0
        assert not any(psutil.pid_exists(worker) for worker in workers)
        assert "leaked" not in served.said()


@pytest.fixture
def pair(two_workers: Served) -> Served:
    """That server, whole again after what the test before did to it."""
    eventually(lambda: len(two_workers.serving()) == 2 == len(two_workers.workers()))
    return two_workers
