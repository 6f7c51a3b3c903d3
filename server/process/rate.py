"""How often each client may ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic


class Rates:
    """A token bucket a client; see https://en.wikipedia.org/wiki/Token_bucket.

    per_second: tokens that come back. burst: tokens at most. clients: buckets that are kept; of more clients those that
    have not asked for longest are forgotten, and start with a full bucket. clock: seconds, monotonic.
    """

    def __init__(self, per_second: float, burst: float, clients: int, clock: Callable[[], float] = monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clients = clients
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one of the client's tokens. Returns 0, or the seconds until there will be one."""
        now = self._clock()
        with self._lock:
            tokens, at = self._buckets.pop(client, (self._burst, now))
            tokens = min(self._burst, tokens + (now - at) * self._per_second)
            granted = tokens >= 1
            self._buckets[client] = (tokens - granted, now)
            if len(self._buckets) > self._clients:
                self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - tokens) / self._per_second
