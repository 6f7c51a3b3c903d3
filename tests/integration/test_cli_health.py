"""The command health, beside a server and beside none."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from server.app import Running


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoprank", "health", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def stopping() -> Iterator[str]:
    """Address of a server whose health says NOT_SERVING."""
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def test_a_server_that_serves_is_exit_code_0(server: Running) -> None:
    done = ask("--address", server.address)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"health: SERVING on {server.address}\n"


def test_a_service_that_there_is_not_is_exit_code_1(server: Running) -> None:
    assert ask("--address", server.address, "--service", "shoprank.v1.RankingService").returncode == 0
    done = ask("--address", server.address, "--service", "shoprank.v1.Nothing")
    assert done.returncode == 1
    assert "NOT_FOUND" in done.stderr


def test_a_server_that_stops_is_exit_code_1(stopping: str) -> None:
    done = ask("--address", stopping)
    assert done.returncode == 1
    assert done.stderr == f"shoprank: {stopping}: NOT_SERVING\n"


def test_no_server_is_exit_code_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = ask("--address", f"127.0.0.1:{taken.getsockname()[1]}", "--timeout", "1")
    assert done.returncode == 1
    assert "UNAVAILABLE" in done.stderr or "DEADLINE_EXCEEDED" in done.stderr


def test_a_server_that_never_answers_is_exit_code_1_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        done = ask("--address", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.5")
    assert done.returncode == 1


def test_a_client_certificate_without_an_authority_is_a_mistake() -> None:
    done = ask("--certificate", "client.pem", "--key", "client.key")
    assert done.returncode == 2
    assert "--root-certificate" in done.stderr
