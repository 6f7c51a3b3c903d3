"""Starts the peers' own servers, which print no address of ours: each is ready when it says so over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.models import MODEL_NAME
from benchmarks.servers import ROOT

START_SECONDS = 90


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def ready(
    command: list[str], health: str, cores: Collection[int], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server started in `folder` on the given cores, once `health` answers 200; its whole process group ends after.

    Raises SystemExit with the end of what it printed where it does not come up.
    """
    with tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        try:
            if not _healthy(server, health):
                output.seek(0)
                raise SystemExit(f"bench: {' '.join(command)} did not start:\n{output.read()[-2_000:]}")
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def _healthy(server: subprocess.Popen[bytes], health: str) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=2) as answer:
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    return False


@contextmanager
def feature_server(python: str, repo: Path, cores: Collection[int]) -> Iterator[str]:
    """`feast serve` with what Feast's guide to a fast online server advises; its address.

    Workers are twice the cores and one, the registry is looked at every 300 seconds, and a worker answers 10,000
    requests before it is replaced.
    """
    port = free_port()
    command = [str(Path(python).parent / "feast"), "--chdir", str(repo), "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--no-access-log", "--workers", str(2 * len(cores) + 1)]
    command += ["--max-requests", "10000", "--max-requests-jitter", "500", "--registry_ttl_sec", "300"]
    with ready(command, f"http://127.0.0.1:{port}/health", cores, repo):
        yield f"127.0.0.1:{port}"


@contextmanager
def mlserver(python: str, graph: Path, folder: Path, cores: Collection[int]) -> Iterator[str]:
    """MLServer with the graph; its gRPC address.

    Inference runs in MLServer's own process: a pool of workers beside it, its default, would share the one core.
    """
    http, grpc, metrics = free_port(), free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics,
        "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    model = {
        "name": MODEL_NAME,
        "implementation": "benchmarks.peers.mlserver_runtime.OnnxRuntime",
        "parameters": {"uri": str(graph.resolve())},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(Path(python).parent / "mlserver"), "start", str(folder)]
    with ready(command, f"http://127.0.0.1:{http}/v2/health/ready", cores, folder):
        yield f"127.0.0.1:{grpc}"
