"""How long a call may take is what the call says, or its client, or what is usual."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shoprank import AsyncClient, Client, RankRequest, ServerError, UserError
from shoprank.connection import Timeouts


@pytest.fixture
def silent() -> Iterator[str]:
    """An address where somebody listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


CALLS: list[Callable[..., Any]] = [
    lambda client, **named: client.rank("1", **named),
    lambda client, **named: client.rank_batch([RankRequest("1")], **named),
    lambda client, **named: client.score("1", ["a"], **named),
    lambda client, **named: client.recommend("1", **named),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_clients_time_is_that_of_every_call(silent: str, call: Callable[..., Any]) -> None:
    began = time.monotonic()
    with Client(silent, timeout=0.3) as client, pytest.raises(ServerError, match="DEADLINE_EXCEEDED"):
        call(client)
    assert time.monotonic() - began < 3


def test_a_calls_own_time_comes_first_and_then_the_clients() -> None:
    assert Timeouts(None).of(None, 10) == 10
    assert Timeouts(15).of(None, 10) == 15
    assert Timeouts(15).of(2, 10) == 2


@pytest.mark.parametrize("seconds", [math.inf, math.nan, 1e10, 0, -1, "soon"])
def test_a_time_that_nobody_can_wait_for_is_refused(silent: str, seconds: Any) -> None:
    with Client(silent) as client:
        for call in CALLS:
            with pytest.raises(UserError, match="timeout: is not above 0 and at most 31536000 seconds"):
                call(client, timeout=seconds)
        with pytest.raises(UserError, match="timeout: is not above 0"):
            client.rank_stream([], timeout=seconds)

    async def ask() -> None:
        async with AsyncClient(silent) as client:
            await client.rank("1", timeout=seconds)

    with pytest.raises(UserError, match="timeout: is not above 0"):
        asyncio.run(ask())
