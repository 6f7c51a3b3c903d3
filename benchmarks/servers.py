"""Starts what is measured: our server, the floor, a private Redis with our features; each on cores of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feature_repo.paths import DataPaths
from shoprank.cli import OWN_POLLING, PATIENT, QUIET

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Shop:
    """The data and models that are served. redis: URL of the online features; LMDB below `data` without it."""

    data: Path
    model_repository: Path
    redis: str | None = None


def as_it_comes() -> dict[str, str]:
    """This process's environment without what the command line sets for itself: no other server has it of its own."""
    return {name: value for name, value in os.environ.items() if name not in OWN_POLLING | QUIET | PATIENT}


@contextmanager
def process(
    command: list[str],
    cores: Collection[int],
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[str]:
    """A Python server on the given cores; its address is the last word of the first line it prints.

    Raises SystemExit with the end of its standard error where it does not start.
    """
    with tempfile.TemporaryFile("w+") as errors:
        server = subprocess.Popen(
            [python, "-W", "ignore", *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**as_it_comes(), "PYTHONPATH": str(ROOT), **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                errors.seek(0)
                raise SystemExit(f"bench: {' '.join(command)} did not start:\n{errors.read()[-2_000:]}")
            yield line.split()[-1]
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def ours(
    shop: Shop, cores: Collection[int], workers: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """`shoprank serve` at the time of the snapshot; its address."""
    command = ["-m", "shoprank", "serve", "--port", "0", "--clock", "snapshot", "--data", str(shop.data)]
    command += ["--model-repository", str(shop.model_repository)]
    if shop.redis:
        command += ["--redis", shop.redis]
    if workers > 1:
        command += ["--workers", str(workers)]
    with process(command, cores, environment) as address:
        yield address


@contextmanager
def floor(
    traffics: Collection[Path],
    cores: Collection[int],
    processes: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """The empty handler with the replies of these traffics; its address."""
    command = ["-m", "benchmarks.floor", "--processes", str(processes), *map(str, traffics)]
    with process(command, cores, environment) as address:
        yield address


def in_redis(shop: Shop, folder: Path, url: str) -> Shop:
    """The same shop with its features in the Redis at `url`; `folder` gets a registry of its own, `shop` is left as is.

    Raises SystemExit where they cannot be loaded.
    """
    data = folder / "data"
    data.mkdir()
    for entry in shop.data.resolve().iterdir():
        if entry.name != DataPaths(data).feast.name:
            (data / entry.name).symlink_to(entry)
    copy = Shop(data, shop.model_repository, url)
    for command in (["apply", "--model-repository", str(shop.model_repository)], ["materialize"]):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "shoprank", *command, "--data", str(data), "--redis", url],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"bench: shoprank {command[0]} failed:\n{done.stderr[-2_000:]}")
    return copy
