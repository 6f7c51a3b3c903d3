"""Servers in processes of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.conftest import Shop
from tests.serving import Serve, Served, ended


@pytest.fixture
def serve(trained: Shop) -> Iterator[Serve]:
    """Starts servers of the shop on free ports; ends them all."""
    with contextlib.ExitStack() as stack:

        def run(*arguments: str, wait: bool = True, **environment: str) -> Served:
            log = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
            folders = ["--data", str(trained.paths.root), "--model-repository", str(trained.models)]
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
