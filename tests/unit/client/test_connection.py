"""How a client may reach a server."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import grpc
import pytest

from shoprank import Client, UserError
from shoprank.connection import Connection


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:50051", "127.0.0.1", "localhost:1", "[::1]:1", "ipv4:127.0.0.1:1", "dns:///localhost:1", "unix:/tmp/s"],
)
def test_a_token_may_stay_on_this_machine_in_the_clear(address: str) -> None:
    assert Connection(address, token="t")


@pytest.mark.parametrize(
    "address",
    [
        "shop:50051",
        "10.0.0.1:1",
        "127.evil.test:1",
        "127.0.0.1.evil.test:1",
        "localhost.evil.test:1",
        "dns://127.0.0.1/x:1",
    ],
)
def test_beyond_it_only_over_tls(address: str) -> None:
    with pytest.raises(UserError, match="in the clear"):
        Connection(address, token="t")
    assert Connection(address, token="t", root_certificate="ca.pem")
    assert Connection(address, token="t", credentials=grpc.ssl_channel_credentials())


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"certificate": "a"}, "go together"),
        ({"certificate": "a", "key": "b"}, "give root_certificate too"),
        ({"root_certificate": "a", "credentials": grpc.ssl_channel_credentials()}, "either these or the files"),
    ],
)
def test_half_of_what_is_needed_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        Connection("127.0.0.1:1", **given)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none: cannot be read: No such file"):
        Client("127.0.0.1:1", root_certificate=tmp_path / "none")


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Connection("127.0.0.1:1", token="secret"))


@pytest.mark.parametrize("address", ["", "127.0.0.1:65536", "dns:///shop:99999", "[::1]:70000"])
def test_an_address_that_can_be_none_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="address: "):
        Connection(address)


@pytest.mark.parametrize("address", ["unix:/tmp/a:99999", "[::1]:65535", "shop", "dns:///shop"])
def test_other_addresses_are_grpcs_own(address: str) -> None:
    assert Connection(address)


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.inf, math.nan, 1e20])
def test_a_time_that_cannot_be_waited_is_refused(timeout: float) -> None:
    with pytest.raises(UserError, match="timeout: "):
        Client("127.0.0.1:1", timeout)
