"""A load test of a running server with Locust, for people who plan their own traffic.

    pip install --require-hashes -r benchmarks/requirements-locust.txt
    PYTHONPATH=. locust -f benchmarks/locustfile.py --headless --host 127.0.0.1:50051 --users 20 --run-time 1m

In an environment of its own, from the root of the repository. Candidates are drawn from what the server itself
recommends from its whole catalogue, users from SHOPRANK_LOAD_USERS, a file with an id a line (without it they are 1 to
2,000, the packaged data's). Each simulated user thinks for 0.1 to 0.5 seconds between rankings.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import grpc
from grpc.experimental import gevent as grpc_gevent  # type: ignore[attr-defined]  # stubs lack it
from locust import User, between, task
from locust.exception import LocustError

from shoprank.v1.ranking_pb2 import RankItemsRequest, ScoreItemsRequest
from shoprank.v1.ranking_pb2_grpc import RankingServiceStub

grpc_gevent.init_gevent()

USERS_FILE = "SHOPRANK_LOAD_USERS"
CANDIDATES = 100
CATALOGUE = 1_000


def user_ids() -> list[str]:
    """Who asks."""
    file = os.environ.get(USERS_FILE)
    return Path(file).read_text().split() if file else [str(number) for number in range(1, 2_001)]


class Shopper(User):  # type: ignore[misc]  # Locust is in another environment
    """Asks for rankings, now and then for scores."""

    wait_time = between(0.1, 0.5)
    timeout = 5.0

    def on_start(self) -> None:
        """Connect, and learn items to ask for."""
        if not self.host:
            raise LocustError("--host is missing: host:port of a shoprank server")
        self._stub = RankingServiceStub(grpc.insecure_channel(self.host))
        self._users = user_ids()
        first = RankItemsRequest(user_id=random.choice(self._users), top_k=CATALOGUE)
        self._items = list(self._stub.RankItems(first, timeout=60).item_ids)

    @task(9)  # type: ignore[untyped-decorator]
    def rank(self) -> None:
        """A ranking of 100 candidates, the best 10 returned."""
        items = random.sample(self._items, min(CANDIDATES, len(self._items)))
        request = RankItemsRequest(user_id=random.choice(self._users), item_ids=items, top_k=min(10, len(items)))
        self._call("RankItems", request)

    @task(1)  # type: ignore[untyped-decorator]
    def score(self) -> None:
        """The probability of one item, as a product page asks."""
        request = ScoreItemsRequest(user_id=random.choice(self._users), item_ids=[random.choice(self._items)])
        self._call("ScoreItems", request)

    def _call(self, method: str, request: Any) -> None:
        """One call, reported to Locust: its time, the bytes of its reply, and its error if it failed."""
        began, error, size = time.perf_counter(), None, 0
        try:
            size = getattr(self._stub, method)(request, timeout=self.timeout).ByteSize()
        except grpc.RpcError as failed:
            error = failed
        self.environment.events.request.fire(
            request_type="grpc", name=method, response_time=(time.perf_counter() - began) * 1e3,
            response_length=size, exception=error, context={},
        )  # fmt: skip
