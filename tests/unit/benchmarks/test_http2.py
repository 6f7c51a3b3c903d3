"""The plain client of HTTP/2 against frames made by hand."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.load import open_loop
from benchmarks.load.http2 import (
    DATA,
    END_STREAM,
    FIRST_WINDOW,
    GOAWAY,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    RST_STREAM,
    SETTINGS,
    Answer,
    Connection,
)

MESSAGE = b"\0" + struct.pack(">I", 3) + b"yes"
OK = b"\0\x0bgrpc-status\x010"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Other:
    """The other end of a connection."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.connection = Connection(self.address, "/t.T/M")
        self.socket, _ = self._listening.accept()

    def answers(self, *pieces: bytes) -> list[Answer]:
        """What the connection makes of pieces that are read one by one."""
        found: list[Answer] = []
        for piece in pieces:
            self.socket.sendall(piece)
            self.connection.wait(1.0)
            found += self.connection.answers()
        return found

    def received(self) -> list[tuple[int, int, int, int]]:
        """Kind, flags, stream and length of the frames that have come."""
        time.sleep(0.05)
        data, frames = self.socket.recv(1 << 20).removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), []
        while data:
            length = int.from_bytes(data[:3])
            kind, flags, stream = struct.unpack_from(">BBI", data, 3)
            frames.append((kind, flags, stream, length))
            data = data[9 + length :]
        return frames

    def close(self) -> None:
        for one in (self.connection, self.socket, self._listening):
            one.close()


@pytest.fixture
def other() -> Iterator[Other]:
    made = Other()
    yield made
    made.close()


def test_an_answer_that_comes_byte_by_byte_is_whole(other: Other) -> None:
    other.connection.begin(b"ask")
    other.connection.flush()
    came = frame(HEADERS, 4, 1, b"\0\x01a\x01b") + frame(DATA, 0, 1, MESSAGE) + frame(HEADERS, 4 | END_STREAM, 1, OK)
    assert other.answers(*(came[i : i + 1] for i in range(len(came)))) == [Answer(0, "OK", b"yes")]


def test_what_fails_has_its_code_and_no_reply(other: Other) -> None:
    for _ in range(3):
        other.connection.begin(b"ask")
    other.connection.flush()
    refused = frame(HEADERS, 4 | END_STREAM, 3, OK[:-1] + b"8")
    reset = [frame(RST_STREAM, 0, stream, struct.pack(">I", code)) for stream, code in ((1, 8), (5, 2))]
    assert other.answers(reset[0] + refused + reset[1]) == [
        Answer(0, "CANCELLED", b""),
        Answer(1, "RESOURCE_EXHAUSTED", b""),
        Answer(2, "INTERNAL", b""),
    ]


def test_a_server_that_goes_away_is_said(other: Other) -> None:
    with pytest.raises(ConnectionError, match="goes away: too old"):
        other.answers(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0) + b"too old"))
    other.socket.close()
    other.connection.wait(1.0)
    with pytest.raises(ConnectionError, match="has ended the connection"):
        list(other.connection.answers())


def test_no_more_calls_are_sent_than_the_server_takes_at_once(other: Other) -> None:
    other.answers(frame(SETTINGS, 0, 0, struct.pack(">HI", MAX_CONCURRENT_STREAMS, 1)))
    for _ in range(2):
        other.connection.begin(b"ask")
    other.connection.flush()
    assert [stream for kind, _, stream, _ in other.received() if kind == HEADERS] == [1]
    assert other.connection.cancel(0)
    assert not other.connection.cancel(0)
    other.connection.flush()
    assert [(kind, stream) for kind, _, stream, _ in other.received()] == [(RST_STREAM, 1), (HEADERS, 3), (DATA, 3)]


def test_a_long_request_is_sent_in_frames_and_a_longer_one_refused(other: Other) -> None:
    other.connection.begin(b"a" * 20_000)
    other.connection.flush()
    data = [(flags, length) for kind, flags, _, length in other.received() if kind == DATA]
    assert data == [(0, 16_384), (END_STREAM, 20_005 - 16_384)]
    with pytest.raises(ValueError, match="a request of 65,535 bytes"):
        other.connection.begin(b"a" * FIRST_WINDOW)


def test_the_generator_gives_up_where_the_server_answers_nothing(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "BEHIND_SECONDS", 0.1)
    moments = np.arange(4_000) / 40_000
    outcome, kept = open_loop.plainly(other.address, "/t.T/M", [b"a"], moments, 1, timeout=0.3)
    assert outcome.errors == {"DEADLINE_EXCEEDED": 2_001, "NOT_SENT": 1_999}
    assert not kept
    assert not len(outcome.latency)
