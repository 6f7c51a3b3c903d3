"""gRPC calls over HTTP/2 by hand, so that a call costs the generator a few microseconds.

It knows as much of HTTP/2 (RFC 9113) as calls with one short request and one reply need of gRPC's core, trusts the
server, and asks for no header but grpc-status. To the server it is as dear as a client of gRPC: both keep tables of
headers. Frames that are padded, and headers in several frames, are none that the core sends.
"""

from __future__ import annotations

import select
import socket
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from benchmarks.load.hpack import Decoder, Header, encoded

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FIRST_WINDOW = 65_535
"""Bytes that either end may send before it is told that it may send more."""
WIDEST_WINDOW = 2**31 - 1
READ_BYTES = 1 << 20
FRAME_BYTES = 16_384
"""Of a frame's payload at most."""
CANCEL = 8
"""HTTP/2's code for a call that is no longer wanted."""
FRAME = struct.Struct(">IBI")
"""Length (three bytes) and kind, flags, stream."""
MESSAGE = struct.Struct(">BI")
"""Of gRPC: whether it is compressed, and its length."""
RESET = {7: "UNAVAILABLE", CANCEL: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}
"""gRPC's codes by those of HTTP/2; INTERNAL for others."""
CODES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a call. number: of those begun, from 0. code: as gRPC names it. reply: empty where it failed."""

    number: int
    code: str
    reply: bytes


class Connection:
    """A connection to a server without TLS, for calls of one method."""

    def __init__(self, address: str, method: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._first_headers, self._headers = encoded(_headers(address, method))
        self._decoder = Decoder()
        self._begun = 0
        self._queued: deque[tuple[int, bytes]] = deque()
        self._replies: dict[int, list[bytes]] = {}
        self._most = 100
        self._window = FIRST_WINDOW
        self._taken = 0
        self._received = bytearray()
        self._unsent = bytearray(PREFACE)
        self._unsent += _frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, WIDEST_WINDOW))
        self._unsent += _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDEST_WINDOW - FIRST_WINDOW))

    def begin(self, request: bytes) -> None:
        """Begin a call. It is sent by `flush`, once the server takes one more.

        Raises ValueError where the request is larger than a call may send before the server has read of it.
        """
        if len(request) + MESSAGE.size > FIRST_WINDOW:
            raise ValueError(f"a request of {len(request):,} bytes: {FIRST_WINDOW - MESSAGE.size:,} at most")
        self._queued.append((2 * self._begun + 1, request))
        self._begun += 1

    def flush(self) -> None:
        """Send what the server and the socket take. Raises OSError where the server has gone."""
        while self._queued and len(self._replies) < self._most:
            stream, request = self._queued[0]
            message = MESSAGE.pack(0, len(request)) + request
            if len(message) > self._window:
                break
            self._queued.popleft()
            self._replies[stream] = []
            self._window -= len(message)
            self._unsent += _frame(HEADERS, END_HEADERS, stream, self._first_headers or self._headers)
            self._first_headers = b""
            for start in range(0, len(message), FRAME_BYTES):
                part = message[start : start + FRAME_BYTES]
                last = END_STREAM if start + FRAME_BYTES >= len(message) else 0
                self._unsent += _frame(DATA, last, stream, part)
        if self._unsent:
            try:
                del self._unsent[: self._socket.send(self._unsent)]
            except BlockingIOError:
                return

    def cancel(self, number: int) -> bool:
        """Give a call up, of those that wait to be sent the oldest alone. Returns whether it had no answer yet."""
        stream = 2 * number + 1
        if self._queued and self._queued[0][0] == stream:
            self._queued.popleft()
            return True
        if self._replies.pop(stream, None) is None:
            return False
        self._unsent += _frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))
        return True

    def wait(self, seconds: float) -> None:
        """Until the server has sent something, or takes what it did not, or so long."""
        select.select([self._socket], [self._socket] if self._unsent else [], [], max(0.0, seconds))

    def answers(self) -> Iterator[Answer]:
        """Calls that have ended meanwhile. Raises OSError where the server ends the connection."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the server has ended the connection")
        received, at = self._received, 0
        received += data
        while len(received) - at >= FRAME.size:
            length_and_kind, flags, stream = FRAME.unpack_from(received, at)
            start, at_next = at + FRAME.size, at + FRAME.size + (length_and_kind >> 8)
            if at_next > len(received):
                break
            payload, at = bytes(received[start:at_next]), at_next
            kind = length_and_kind & 255
            if kind == DATA:
                self._take(stream, payload)
            elif kind == HEADERS:
                headers = self._decoder.read(payload)
                if flags & END_STREAM and stream in self._replies:
                    yield self._ended(stream, _status(headers))
            elif kind == RST_STREAM and stream in self._replies:
                yield self._ended(stream, RESET.get(int.from_bytes(payload), "INTERNAL"))
            elif stream == 0:
                self._heard(kind, flags, payload)
        del received[:at]

    def close(self) -> None:
        """End the connection, and with it the calls that are open."""
        self._socket.close()

    def _take(self, stream: int, payload: bytes) -> None:
        if stream in self._replies:
            self._replies[stream].append(payload)
        self._taken += len(payload)
        if self._taken > WIDEST_WINDOW // 2:
            self._unsent += _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._taken))
            self._taken = 0

    def _ended(self, stream: int, code: str) -> Answer:
        message = b"".join(self._replies.pop(stream))
        return Answer(stream // 2, code, message[MESSAGE.size :] if code == "OK" else b"")

    def _heard(self, kind: int, flags: int, payload: bytes) -> None:
        """What the server says of the connection as a whole."""
        if kind == SETTINGS and not flags & ACK:
            self._most = dict(struct.iter_unpack(">HI", payload)).get(MAX_CONCURRENT_STREAMS, self._most)
            self._unsent += _frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._unsent += _frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            self._window += int.from_bytes(payload)
        elif kind == GOAWAY:
            raise ConnectionError(f"the server goes away: {payload[8:].decode(errors='replace')}")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return FRAME.pack(len(payload) << 8 | kind, flags, stream) + payload


def _headers(address: str, method: str) -> list[tuple[str, str]]:
    """Those of a call, as grpcio sends them."""
    return [
        (":scheme", "http"), (":method", "POST"), (":authority", address), (":path", method), ("te", "trailers"),
        ("content-type", "application/grpc"), ("user-agent", "shoprank-benchmarks"),
        ("grpc-accept-encoding", "identity, deflate, gzip"),
    ]  # fmt: skip


def _status(trailers: list[Header]) -> str:
    """gRPC's code in trailers."""
    return next((CODES[int(value)] for name, value in trailers if name == b"grpc-status"), "UNKNOWN")
