"""How many rankings each client may ask for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from shoprank.errors import Overloaded


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
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, client: str, tokens: float = 1.0) -> float:
        """Take tokens of the client's, if there is one; those that there are not it owes.

        Returns 0, or the seconds until there will be one, where none was taken.
        """
        with self._lock:
            bucket = self._filled(client)
            if bucket.tokens < 1:
                return (1 - bucket.tokens) / self._per_second
            bucket.tokens -= tokens
        return 0.0

    def owe(self, client: str, tokens: float) -> None:
        """Take tokens of the client's, whether they are there or not."""
        with self._lock:
            self._filled(client).tokens -= tokens

    def _filled(self, client: str) -> _Bucket:
        """The client's bucket as it is now, kept as the last that was asked for."""
        now = self._clock()
        bucket = self._buckets.setdefault(client, _Bucket(self._burst, now))
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_second)
        bucket.at = now
        return bucket


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, and how much of its rate is left. name: as messages have it."""

    name: str
    rates: Rates

    def take(self, rankings: int = 1) -> None:
        """Count rankings it asked for. Raises Overloaded where it has none left; it may owe all but the first."""
        if wait := self.rates.take(self.name, rankings):
            raise Overloaded(f"{self.name} asks too often; ask again in {wait:.2f} s", wait)

    def owe(self, rankings: int) -> None:
        """Count rankings of a call that was let in."""
        self.rates.owe(self.name, rankings)
