"""A server in processes of its own, and callers that keep it busy."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Protocol

import psutil

from shoprank.client import Client
from shoprank.errors import ServerError

CANDIDATES = [f"i{i}" for i in range(40)]
START_SECONDS = 60


@dataclass
class Served:
    """A `shoprank serve` process. ready: the line it printed."""

    process: subprocess.Popen[str]
    ready: str
    log: IO[str]
    ended: bool = False

    @property
    def address(self) -> str:
        return self.ready.split()[-1]

    def workers(self) -> list[int]:
        """Ids of its worker processes, those that have ended left out."""
        return sorted(child.pid for child in psutil.Process(self.process.pid).children() if lives(child))

    def serving(self) -> list[int]:
        """Ids of its workers that take calls."""
        port = int(self.address.rpartition(":")[2])
        return [worker for worker in self.workers() if port in listening(worker)]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code, once it has ended by itself."""
        self.process.send_signal(number)
        self.ended = True
        return self.process.wait(30)

    def said(self) -> str:
        """What it logged."""
        self.log.seek(0)
        return self.log.read()


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listening(process: int) -> set[int]:
    """Ports that the process listens on; none where it has ended."""
    try:
        connections = psutil.Process(process).net_connections("tcp")
    except psutil.NoSuchProcess:
        return set()
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


class Serve(Protocol):
    """Starts servers of the shop on free ports."""

    def __call__(self, *arguments: str, wait: bool = True, **environment: str) -> Served:
        """A server with further arguments and variables of the environment; `wait` for it to be ready."""
        ...


def ended(served: Served) -> None:
    """End it whatever it does."""
    if served.process.poll() is None:
        served.process.terminate()
        try:
            served.process.wait(20)
        except subprocess.TimeoutExpired:
            served.process.kill()
            served.process.wait()
    assert served.process.stdout is not None
    served.process.stdout.close()


@dataclass
class Callers:
    """Threads that ask for rankings one after another, until told to stop, and count what they got."""

    address: str
    number: int = 4
    connections: int = 4
    timeout: float = 5.0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __enter__(self) -> Callers:
        self._stop = threading.Event()
        self._client = Client(self.address, timeout=self.timeout, connections=self.connections)
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(self.number)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _run(self, number: int) -> None:
        user = f"u{number + 1}"
        while not self._stop.is_set():
            try:
                ranking = self._client.rank(user, CANDIDATES)
            except ServerError as error:
                self.outcomes[str(error)] += 1
            else:
                self.outcomes["answered"] += 1
                if sorted(item.item_id for item in ranking) != sorted(CANDIDATES):
                    self.wrong.append(user)

    def failures(self) -> dict[str, int]:
        """What went wrong, by message."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "answered"}


def eventually(true: Callable[[], object], within: float = 30.0) -> None:
    """Fail unless it becomes true within so many seconds."""
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"not within {within:g} s"
        time.sleep(0.05)


def answers(address: str) -> bool:
    """Whether a valid call is answered there."""
    try:
        with Client(address, timeout=5) as client:
            return len(client.rank("u1", CANDIDATES)) == len(CANDIDATES)
    except ServerError:
        return False
