"""Fixtures of the packed online store's tests: a place on each backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.packed_world import Place
from tests.redis_server import RedisServer


@pytest.fixture(params=["lmdb", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place on LMDB, then one on Redis."""
    if request.param == "lmdb":
        return Place(tmp_path)
    return on(request.getfixturevalue("redis_server"), tmp_path)


@pytest.fixture
def redis_place(redis_server: RedisServer, tmp_path: Path) -> Place:
    """An empty place on the Redis server that tests share."""
    return on(redis_server, tmp_path)


def on(server: RedisServer, root: Path) -> Place:
    """An empty place on a Redis server."""
    server.client().flushall()
    return Place(root, {"backend": "redis", "connection_string": server.url, "timeout_seconds": 5.0})
