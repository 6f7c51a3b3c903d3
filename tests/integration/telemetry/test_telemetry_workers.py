"""Several processes serve, one tells of all of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from server.settings import Settings
from server.telemetry.exposition import Exposition
from shoprank import Client
from tests.conftest import Shop, settings
from tests.integration.telemetry.conftest import scrape

RANK = "shoprank.v1.RankingService/RankItems"
ITEMS = [f"i{i}" for i in range(40)]

WORKER = """
import sys
from server.app import start
from server.settings import Settings
running = start(Settings.model_validate_json(sys.argv[1]), place=(sys.argv[2], int(sys.argv[3])))
print(running.address, flush=True)
sys.stdin.read()
running.stop()
"""


class Worker:
    """A process that serves and counts in a slot."""

    def __init__(self, given: Settings, exposition: Exposition, slot: int) -> None:
        command = [sys.executable, "-c", WORKER, given.model_dump_json(), exposition.block.name, str(slot)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()

    def ask(self, count: int) -> None:
        with Client(self.address, timeout=10) as client:
            for _ in range(count):
                client.rank("u1", ITEMS)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def stop(self) -> None:
        self.process.communicate()


@pytest.fixture
def exposition(trained: Shop) -> Iterator[Exposition]:
    given = settings(trained.paths.root, trained.models, telemetry={"metrics_port": 0})
    started = Exposition.start(given, slots=3)
    assert started is not None
    yield started
    started.stop()


def test_workers_are_summed_and_a_restart_takes_nothing_away(exposition: Exposition, trained: Shop) -> None:
    given = settings(trained.paths.root, trained.models, clock="snapshot", telemetry={"metrics_port": 0})
    ok = ("shoprank_requests_total", frozenset({("method", RANK), ("code", "OK")}))

    def up(slot: int) -> float | None:
        return scrape(exposition.address).get(("shoprank_worker_up", frozenset({("worker", str(slot))})))

    first, second = (Worker(given, exposition, slot) for slot in (0, 1))
    first.ask(3)
    second.ask(2)
    assert scrape(exposition.address)[ok] == 5
    info = {("model", "purchase"), ("version", "1"), ("role", "champion")}
    assert scrape(exposition.address)["shoprank_model_info", frozenset(info)] == 2
    first.kill()
    assert scrape(exposition.address)[ok] == 5
    assert (up(0), up(1)) == (0, 1)
    third = Worker(given, exposition, 0)
    third.ask(4)
    assert scrape(exposition.address)[ok] == 9
    assert (up(0), up(1)) == (1, 1)
    starts = ("shoprank_worker_starts_total", frozenset({("worker", "0")}))
    assert scrape(exposition.address)[starts] == 2
    for worker in (second, third):
        worker.stop()
    found = scrape(exposition.address)
    assert found[ok] == 9
    assert found["shoprank_requests_in_flight", frozenset()] == 0
    assert (up(0), up(1)) == (None, None)
