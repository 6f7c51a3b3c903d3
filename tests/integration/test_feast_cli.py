"""Feast's own command line on the repository."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from feature_repo.store import REPO
from tests.conftest import Shop

FEAST = Path(sys.executable).with_name("feast")


@pytest.fixture
def repository(shop: Shop, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A copy of the repository with an empty registry beside it, and the environment that names the shop's data."""
    shutil.copytree(REPO, tmp_path / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data" / "feast").mkdir(parents=True)
    environment = {
        **os.environ,
        "SHOPRANK_DATA": str(shop.paths.root),
        "SHOPRANK_MODEL_REPOSITORY": str(shop.models),
    }
    return tmp_path / "feature_repo", environment


def test_plan_apply_list_and_ui_work(repository: tuple[Path, dict[str, str]]) -> None:
    folder, environment = repository

    def feast(*arguments: str) -> str:
        done = subprocess.run(
            [FEAST, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Created feature view item_features" in feast("plan")
    assert "Deploying infrastructure for user_history" in feast("apply")
    port = free_port()
    ui = subprocess.Popen([FEAST, "ui", "--host", "127.0.0.1", "--port", str(port)], cwd=folder, env=environment)
    try:
        listed = feast("feature-views", "list")
        for view in ("user_features", "user_history", "item_features", "user_item_features"):
            assert view in listed
        assert answer(f"http://127.0.0.1:{port}/") == 200
    finally:
        ui.terminate()
        ui.wait(20)


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answer(url: str, seconds: float = 60) -> int:
    """Status of the page, once something listens there."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return int(reply.status)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)
