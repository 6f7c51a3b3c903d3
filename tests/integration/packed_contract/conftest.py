"""The same shop's features in a packed store and in Feast's own SQLite store, to be asked the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer

pytest.register_assert_rewrite("tests.packed_feast")
from tests.packed_feast import Online, Pair, shop  # noqa: E402


@pytest.fixture(params=["lmdb", "redis"])
def online(request: pytest.FixtureRequest) -> Online:
    """`online_store` settings of a packed store: on LMDB, then on Redis."""
    if request.param == "lmdb":
        return {}
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()
    return {"backend": "redis", "connection_string": server.url, "timeout_seconds": 5.0}


@pytest.fixture
def pair(online: Online, tmp_path: Path) -> Iterator[Pair]:
    """Two empty stores without views."""
    made = Pair.at(tmp_path, online)
    yield made
    made.close()


@pytest.fixture
def filled(pair: Pair, tmp_path: Path) -> Pair:
    """Two stores with the shop's views and rows."""
    pair.apply(lambda: shop(tmp_path))
    pair.fill()
    return pair
