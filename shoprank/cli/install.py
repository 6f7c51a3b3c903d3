"""The `check-install` command: the steps of the container image, carried out in a folder, and the server they give."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.options import DataDir, ModelRepository
from shoprank.errors import ShoprankError

ROOT = Path(__file__).resolve().parents[2]
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install")
LOCKED = ("--require-hashes", "--only-binary", ":all:", "-r")
COMPILE = "import server.app"
"""Importing it compiles, and keeps, everything that has a signature."""
PROOF = """
import importlib.util, sys, shoprank, feature_repo
assert importlib.util.find_spec("tensorflow") is None, "TensorFlow is installed"
for package in (shoprank, feature_repo):
    assert package.__file__.startswith(sys.prefix), f"{package.__file__} is not of the install"
"""


@app.command("check-install")
def check_install(
    data: DataDir = Path("data"),
    model_repository: ModelRepository = Path("model_repository"),
    requirements: Annotated[Path, typer.Option(help="Lock of the server's packages.")] = ROOT
    / "requirements-server.txt",
) -> None:
    """Install the server as its container image does, serve from outside the source tree, and ask it."""
    with tempfile.TemporaryDirectory(prefix="shoprank-install-") as name:
        folder = Path(name)
        installed = install(folder, requirements.resolve())
        for source, copy in ((data, "data"), (model_repository, "model_repository")):
            shutil.copytree(source, folder / copy, symlinks=True, ignore=shutil.ignore_patterns("dataset", "events"))
        print(f"check-install: {serve_and_ask(folder, installed)}")


def install(folder: Path, requirements: Path) -> Path:
    """Install below `folder` what the image installs, compile, and return the folder of the commands.

    Raises ShoprankError naming the step that failed.
    """
    tools, server = folder / "tools", folder / "shoprank"
    for environment, lock in (
        (tools, ROOT / "deploy" / "container" / "requirements-build.txt"),
        (server, requirements),
    ):
        _step(sys.executable, "-m", "venv", environment)
        _step(environment / "bin" / "python", *PIP, *LOCKED, lock)
    _step(tools / "bin" / "python", "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "wheels", cwd=ROOT)
    (wheel,) = (folder / "wheels").glob("*.whl")
    _step(server / "bin" / "python", *PIP, "--no-deps", "--no-index", wheel)
    _step(server / "bin" / "python", "-c", PROOF, cwd=folder)
    _step(server / "bin" / "python", "-c", COMPILE, cwd=folder, NUMBA_CACHE_DIR=str(server / "compiled"))
    return server / "bin"


def serve_and_ask(folder: Path, commands: Path) -> str:
    """Serve by the image's entrypoint on a free port, ask for health and a ranking, and stop; what was served."""
    places = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "COMPILED_DIR": str(commands.parent / "compiled"),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "SHOPRANK_DATA": str(folder / "data"),
        "SHOPRANK_MODEL_REPOSITORY": str(folder / "model_repository"),
    }
    arguments = ["sh", str(ROOT / "deploy" / "container" / "entrypoint"), "serve", "--port", "0", "--clock", "snapshot"]
    server = subprocess.Popen(arguments, cwd=folder, env=_environment(places), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        served = server.stdout.readline().strip()
        if not served:
            raise ShoprankError(f"the server ended with code {server.wait()} before it served")
        address = served.split()[-1]
        _step(commands / "shoprank", "health", "--address", address, cwd=folder)
        _step(commands / "shoprank", "rank", "--user", "1", "--top-k", "3", "--address", address, cwd=folder)
        server.send_signal(signal.SIGTERM)
        if code := server.wait(timeout=60):
            raise ShoprankError(f"the server ended with code {code} when it was told to stop")
    finally:
        server.kill()
        server.wait()
    return served


def _step(*command: str | Path, cwd: Path | None = None, **places: str) -> None:
    code = subprocess.run(command, cwd=cwd, env=_environment(places), check=False).returncode
    if code:
        raise ShoprankError(f"check-install: {' '.join(map(str, command))}: ended with code {code}")


def _environment(places: dict[str, str]) -> dict[str, str]:
    """This environment without what could lead to the source tree or to another server's settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPRANK_", "PYTHON", "NUMBA_"))}
    return ours | places
