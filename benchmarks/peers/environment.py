"""A virtual environment for each peer, below `.bench-venv`, so that what peers need never meets what shoprank needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / ".bench-venv"


def python_of(peer: str) -> str:
    """The Python of the peer's environment, made first where there is none for its requirements as they are now.

    Raises SystemExit where it cannot be installed.
    """
    requirements = HERE / f"requirements-{peer}.txt"
    folder = FOLDER / peer
    python, mark = folder / "bin" / "python", folder / "requirements.txt"
    if mark.is_file() and mark.read_bytes() == requirements.read_bytes():
        return str(python)
    print(f"peers: installing {requirements.name} into {folder}", flush=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*install, "-r", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(command)} failed:\n{done.stderr[-2_000:]}")
    mark.write_bytes(requirements.read_bytes())
    return str(python)
