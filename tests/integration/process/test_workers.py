"""Several worker processes on one port, kept by a supervisor."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from shoprank.client import Client
from shoprank.v1 import model_pb2, model_pb2_grpc, ranking_pb2, ranking_pb2_grpc
from tests.conftest import Shop
from tests.integration.telemetry.conftest import scrape
from tests.serving import CANDIDATES, Callers, Serve, Served, answers, eventually


def test_workers_share_a_port_and_the_cores(pair: Served) -> None:
    served, before = pair, len(pair.said())
    assert served.ready.startswith("serve: purchase version 1 with purchase_v1 over 150 items on 127.0.0.1:")
    workers = served.workers()
    assert len(workers) == 2
    cores = [tuple(psutil.Process(worker).cpu_affinity()) for worker in workers]
    if len(psutil.Process().cpu_affinity()) > 1:
        assert not set(cores[0]) & set(cores[1])
    with Client(served.address, connections=16) as client:
        for _ in range(64):
            client.rank("u1", ["i1", "i2"])
        port = int(served.address.rpartition(":")[2])
        connected = [
            worker
            for worker in workers
            for connection in psutil.Process(worker).net_connections("tcp")
            if connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED
        ]
    assert len(connected) == 16
    assert set(connected) == set(workers)
    users = re.findall(r'"user": "(u_[0-9a-f]{20})"', served.said()[before:])
    assert (len(users), len(set(users))) == (64, 1)  # all workers call a user the same


def up(served: Served) -> list[float]:
    """`shoprank_worker_up` of each slot that has it."""
    found = re.search(r"http://(\S+)/metrics", served.said())
    assert found
    return [value for (name, _), value in scrape(found[1]).items() if name == "shoprank_worker_up"]


def test_a_killed_worker_is_replaced_and_callers_that_retry_see_nothing(pair: Served) -> None:
    served = pair
    first, second = served.workers()
    with Callers(served.address) as callers:
        time.sleep(0.5)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: len(served.serving()) == 2 and first not in served.serving())
        time.sleep(0.5)
    assert callers.outcomes["answered"] > 100
    assert callers.failures() == {}
    assert callers.wrong == []
    assert second in served.workers()
    assert "ended with -9" in served.said()


@pytest.mark.parametrize("attempt", range(3))
def test_a_worker_that_ends_under_load_fails_no_call(pair: Served, attempt: int) -> None:
    served = pair
    first, second = served.workers()
    with Callers(served.address, number=6) as callers:
        time.sleep(0.5)
        os.kill(first, signal.SIGTERM)
        eventually(lambda: first not in served.workers())
        time.sleep(0.3)
    assert callers.failures() == {}
    assert callers.outcomes["answered"] > 100
    assert second in served.workers()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_ends_under_load_finishes_what_it_has_begun(serve: Serve, workers: str) -> None:
    """Of callers that retry nothing: each has an answer already, and gets all the others."""
    served = serve("--workers", workers)
    request = ranking_pb2.RankItemsRequest(user_id="u1", item_ids=CANDIDATES)
    told = threading.Event()

    def requests() -> Iterator[ranking_pb2.RankItemsRequest]:
        yield request
        told.wait(20)
        for _ in range(100):
            yield request

    with contextlib.ExitStack() as stack:
        calls = []
        for _ in range(3):
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
            channel = stack.enter_context(grpc.insecure_channel(served.address, options))
            calls.append(ranking_pb2_grpc.RankingServiceStub(channel).StreamRankItems(requests(), timeout=30))
            next(iter(calls[-1]))
        served.send(signal.SIGTERM)
        served.ended = True
        eventually(lambda: not served.serving())
        told.set()
        assert [len(list(call)) for call in calls] == [100] * 3
    assert served.process.wait(30) == 0


def test_sighup_replaces_every_worker_without_a_failed_call(pair: Served) -> None:
    served, before = pair, pair.workers()
    with Callers(served.address, number=2) as callers:
        time.sleep(0.3)
        served.send(signal.SIGHUP)
        eventually(lambda: len(served.workers()) == 2 and not set(served.workers()) & set(before), 60)
        time.sleep(0.3)
    assert callers.failures() == {}
    assert callers.wrong == []
    assert callers.outcomes["answered"] > 100


def test_after_a_rolling_restart_and_a_killed_worker_none_is_told_of_as_down(serve: Serve) -> None:
    served = serve("--workers", "2", SHOPRANK_TELEMETRY__METRICS_PORT="0", SHOPRANK_PROCESS__RESTART_SECONDS="0")
    before = served.workers()
    served.send(signal.SIGHUP)
    eventually(lambda: len(served.serving()) == 2 and not set(served.workers()) & set(before), 60)
    killed, other = served.workers()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in served.workers() and len(served.serving()) == 2)
    assert other in served.workers()
    assert up(served) == [1, 1]
    assert re.search(rf"worker \d, slot \d, process {killed}, ended with -9", served.said())


def test_workers_end_when_their_supervisor_is_killed(serve: Serve) -> None:
    served = serve("--workers", "2")
    workers = served.workers()
    assert answers(served.address)
    assert served.stop(signal.SIGKILL) == -9
    eventually(lambda: not any(psutil.pid_exists(worker) for worker in workers), 15)


def test_a_worker_that_hangs_is_replaced(serve: Serve) -> None:
    served = serve("--workers", "2", SHOPRANK_PROCESS__HANG_SECONDS="3", SHOPRANK_PROCESS__RESTART_SECONDS="0")
    first, second = served.workers()
    os.kill(first, signal.SIGSTOP)
    eventually(lambda: len(served.workers()) == 2 and first not in served.workers())
    assert "was silent for 3 s: killed" in served.said()
    assert second in served.workers()


def test_a_server_that_is_stopped_while_its_workers_start_ends_with_0_and_logs_no_failure(serve: Serve) -> None:
    served = serve("--workers", "2", wait=False)
    eventually(lambda: len(served.workers()) == 2)
    assert served.stop() == 0
    assert "ended with" not in served.said()


def test_a_server_whose_workers_have_no_model_says_so_and_ends_with_2(serve: Serve, tmp_path: Path) -> None:
    served = serve("--workers", "2", "--model-repository", str(tmp_path), wait=False)
    assert served.process.wait(60) == 2
    assert "no active model; run `shoprank train`" in served.said()


def test_a_taken_port_ends_with_2_though_it_could_be_shared(serve: Serve) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        served = serve("--workers", "2", "--port", str(port), wait=False)
        assert served.process.wait(60) == 2
        assert f"127.0.0.1:{port}: cannot listen there; is the port taken?" in served.said()


def test_a_server_gives_up_when_no_worker_comes_back(serve: Serve, trained: Shop, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(trained.models, models, symlinks=True)
    served = serve(
        "--workers", "2", "--model-repository", str(models),
        SHOPRANK_PROCESS__RESTART_SECONDS="0.1", SHOPRANK_PROCESS__STARTS="2",
    )  # fmt: skip
    shutil.rmtree(models)
    for worker in served.workers():
        os.kill(worker, signal.SIGKILL)
    assert served.process.wait(60) == 2
    assert "no active model" in served.said()


def test_workers_tell_each_other_which_version_serves(pair: Served) -> None:
    served, workers = pair, pair.workers()

    def told() -> list[int]:
        # A new connection each time: the last may end at the worker that was killed.
        with grpc.insecure_channel(served.address) as channel:
            checked = model_pb2_grpc.ModelServiceStub(channel).ActivateModel(
                model_pb2.ActivateModelRequest(model="purchase", version=1, validate_only=True), wait_for_ready=True
            )
        return sorted(process.pid for process in checked.processes if process.active_version == 1)

    eventually(lambda: told() == workers)
    os.kill(workers[0], signal.SIGKILL)
    eventually(lambda: len(served.workers()) == 2 and served.workers() != workers)
    eventually(lambda: told() == served.workers())
