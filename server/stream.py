"""Requests of a stream, read ahead of their answers: as many as wait are taken at once, no more than a bound wait.

Behind the gate the call itself reads ahead (`process.stream`); without it a thread does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import grpc

from server.process.stream import MAX_BYTES


def taken(requests: Iterator[bytes | None]) -> Iterator[list[bytes]]:
    """All requests up to each None of an iterator that never waits; an empty list where none came before it."""
    some: list[bytes] = []
    for request in requests:
        if request is not None:
            some.append(request)
        else:
            yield some
            some = []
    if some:
        yield some


class ReadAhead:
    """Reads requests in a thread of its own, until they end, their bound waits, or it is closed.

    While the bound waits nothing is read, so gRPC's flow control holds the caller back. bound: requests that may wait;
    one more may be in the reader's hand.
    """

    def __init__(self, requests: Iterator[bytes], bound: int) -> None:
        self._requests = requests
        self._bound = bound
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, name="read ahead", daemon=True).start()

    def taken(self) -> Iterator[list[bytes]]:
        """All requests that wait, in order, as often as some do; ends with the requests, or when it is closed."""
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if not self._waiting:
                    return
                taken = list(self._waiting)
                self._waiting.clear()
                self._bytes = 0
                self._changed.notify_all()
            yield taken

    def close(self) -> None:
        """Let the reader end; what waits is dropped."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            for request in self._requests:
                if not self._put(request):
                    return
        except grpc.RpcError:
            self.close()  # the caller has gone: this is how gRPC says so
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, request: bytes) -> bool:
        """Let a request wait, once there is room; False where nobody takes any more."""
        with self._changed:
            while (len(self._waiting) >= self._bound or self._bytes >= MAX_BYTES) and not self._ended:
                self._changed.wait()
            if self._ended:
                return False
            self._waiting.append(request)
            self._bytes += len(request)
            if len(self._waiting) == 1:
                self._changed.notify_all()
            return True
