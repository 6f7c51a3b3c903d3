"""Addresses as they are written and held."""

from __future__ import annotations

import pytest

from server.process.port import authority, reserve
from shoprank.errors import UserError


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:1"), ("localhost", "localhost:1"), ("::1", "[::1]:1"), ("[::1]", "[::1]:1")],
)
def test_an_address_of_ipv6_is_in_brackets(host: str, address: str) -> None:
    assert authority(host, 1) == address


def test_a_port_is_held_for_those_who_share_it_alone() -> None:
    with reserve("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        held.listen()
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: cannot listen there"):
            reserve("127.0.0.1", port)


def test_a_host_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"host no\.such\.host\.invalid: no such address"):
        reserve("no.such.host.invalid", 1)
