"""What callers can do to a server that is not meant well. In each case a normal client goes on."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from benchmarks.fuzz import PREFACE, disturb, frame, nested, send
from server.app import Running, start
from server.process.settings import Limits
from shoprank.client import Client
from shoprank.v1.ranking_pb2 import RankItemsRequest
from tests.conftest import Shop, settings
from tests.serving import CANDIDATES, Callers, Served, answers, eventually

RANK = "/shoprank.v1.RankingService/RankItems"
SETTINGS = frame(4, 0, 0, b"")
LIMITS = Limits(
    handshake_seconds=1, keepalive_seconds=1, keepalive_timeout_seconds=1, connections=60, request_seconds=1,
    request_bytes=100_000, metadata_bytes=8_192,
)  # fmt: skip


@pytest.fixture
def limited(trained: Shop) -> Iterator[Running]:
    running = start(settings(trained.paths.root, trained.models, clock="snapshot", limits=LIMITS))
    yield running
    running.stop()


def connect(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=5)


def closed(connection: socket.socket) -> bool:
    """Whether the server has closed it; what it sent is read and dropped."""
    connection.setblocking(False)
    try:
        while connection.recv(4_096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def ends(address: str, request: bytes, **more: Any) -> grpc.StatusCode:
    """The code of a call with these bytes."""
    with grpc.insecure_channel(address, [("grpc.max_send_message_length", -1)]) as channel:
        call: Any = channel.unary_unary(RANK, None, None)
        try:
            call(request, timeout=10, **more)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK


def test_malformed_messages_and_connections_neither_crash_nor_hang_a_worker(pair: Served) -> None:
    served, workers = pair, pair.workers()
    outcome = send(served.address, seed=7, count=3_000)
    assert outcome.wrong == []
    assert outcome.codes.total() == 3_000
    assert outcome.codes["INVALID_ARGUMENT"] > 1_000
    disturb(served.address, seed=7, count=150)
    with Client(served.address, connections=8) as client:
        assert all(len(client.rank("u1", CANDIDATES)) == len(CANDIDATES) for _ in range(16))
    assert served.workers() == workers
    assert "Traceback" not in served.said()


def test_nobody_fills_the_log_by_metadata_that_cannot_be_read(pair: Served) -> None:
    before = len(pair.said())
    message = RankItemsRequest(user_id="u1", item_ids=["i1"]).SerializeToString()
    body = b"\x00" + len(message).to_bytes(4, "big") + message
    with connect(pair.address) as connection:
        connection.sendall(PREFACE + SETTINGS)
        unreadable = ((b"x-request-id", b"\xff\xfe"), (b"grpc-timeout", b"-1S"), (b"grpc-encoding", b"none such"))
        for number, field in enumerate(unreadable * 10):
            stream = 2 * number + 1
            connection.sendall(frame(1, 4, stream, headers(field)) + frame(0, 1, stream, body))
            time.sleep(0.01)
    assert answers(pair.address)
    lines = pair.said()[before:].splitlines()
    assert all('"logger": "shoprank.calls"' in line for line in lines), lines


def test_bytes_that_are_no_message_are_a_bad_request(limited: Running) -> None:
    assert ends(limited.address, b"\xff\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT
    for service, method in (("RankingService", "RankItems"), ("RecommendationService", "RecommendItems")):
        with grpc.insecure_channel(limited.address) as channel, pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(f"/shoprank.v1.{service}/{method}", bytes, bytes)(b"\xff\xff\xff")
        assert (error.value.details() or "").startswith(f"request is no shoprank.v1.{method}Request")


def test_a_message_nested_however_deep_is_refused(limited: Running) -> None:
    assert ends(limited.address, nested(49_000)) is grpc.StatusCode.INVALID_ARGUMENT
    assert answers(limited.address)


def test_a_message_above_the_limit_is_refused_unread(limited: Running) -> None:
    assert ends(limited.address, bytes(100_001)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ends(limited.address, bytes(50_000_000)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answers(limited.address)


def test_metadata_above_the_limit_is_refused(limited: Running) -> None:
    request = RankItemsRequest(user_id="u1", item_ids=["i1"]).SerializeToString()
    assert ends(limited.address, request, metadata=[("x-large", "a" * 20_000)]) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ends(limited.address, request, metadata=[("x-small", "a" * 2_000)]) is grpc.StatusCode.OK


def test_connections_that_never_finish_their_greeting_are_closed(limited: Running) -> None:
    slow = [connect(limited.address) for _ in range(40)]
    with Callers(limited.address, number=2) as callers:
        for byte in PREFACE[:8]:
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(bytes([byte]))
            time.sleep(0.1)
        eventually(lambda: all(closed(connection) for connection in slow), 5)
    assert callers.failures() == {}
    assert callers.outcomes["answered"] > 20


def test_half_open_connections_are_closed(limited: Running) -> None:
    """The other end has gone without a word: it acknowledges no ping."""
    silent = [connect(limited.address) for _ in range(40)]
    for connection in silent:
        connection.sendall(PREFACE + SETTINGS)
    with Callers(limited.address, number=2) as callers:
        eventually(lambda: all(closed(connection) for connection in silent), 6)
    assert callers.failures() == {}


def test_connections_above_the_limit_are_refused_and_those_there_go_on(limited: Running) -> None:
    with Client(limited.address, timeout=5) as client:
        assert len(client.rank("u1", CANDIDATES)) == len(CANDIDATES)
        many = [connect(limited.address) for _ in range(100)]
        for connection in many:
            with contextlib.suppress(OSError):
                connection.sendall(PREFACE + SETTINGS)
        eventually(lambda: sum(closed(connection) for connection in many) >= 40, 5)
        assert len(client.rank("u1", CANDIDATES)) == len(CANDIDATES)
        for connection in many:
            connection.close()
    eventually(lambda: answers(limited.address))


def headers(*more: tuple[bytes, bytes]) -> bytes:
    """The header block of a call to RankItems."""
    fields = (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", RANK.encode()), (b":authority", b"shop"),
        (b"te", b"trailers"), (b"content-type", b"application/grpc"), *more,
    )  # fmt: skip
    return b"".join(b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


def test_calls_without_a_request_hold_up_nobody(limited: Running) -> None:
    """Each opens a call with headers alone, as many as a connection may, on ten connections."""
    held = [connect(limited.address) for _ in range(10)]
    for connection in held:
        calls = (frame(1, 4, 2 * i + 1, headers()) for i in range(100))
        connection.sendall(PREFACE + SETTINGS + b"".join(calls))
    time.sleep(0.2)
    with Client(limited.address, timeout=5) as client:
        for _ in range(20):
            assert len(client.rank("u1", CANDIDATES)) == len(CANDIDATES)
    for connection in held:
        connection.close()


def test_a_client_that_pings_all_the_time_is_cut_off(limited: Running) -> None:
    with connect(limited.address) as connection:
        connection.sendall(PREFACE + SETTINGS)
        time.sleep(0.1)
        for _ in range(50):
            with contextlib.suppress(OSError):
                connection.sendall(frame(6, 0, 0, bytes(8)))
            time.sleep(0.005)
        eventually(lambda: closed(connection), 2)
    assert answers(limited.address)
