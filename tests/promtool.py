"""Prometheus's own checker of rules and metrics."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def promtool(*arguments: str, stdin: bytes = b"") -> str:
    """Run it and return what it complains of, "" where it finds no fault; fails the test where it ends in failure.

    Skips the test where it is not installed, but in CI.
    """
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not installed; .ci/run installs it")
        pytest.skip("promtool is not installed; it comes with Prometheus")
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
