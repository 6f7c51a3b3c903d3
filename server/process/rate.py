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
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, tokens: float = 1.0) -> float:
        """Take tokens of the client's, if there is one; those that there are not it owes.

        Returns 0, or the seconds until there will be one, where none was taken.
        """
        with self._lock:
            left = self._left(client)
            granted = left >= 1
            self._keep(client, left - tokens if granted else left)
        return 0.0 if granted else (1 - left) / self._per_second

    def owe(self, client: str, tokens: float) -> None:
        """Take tokens of the client's, whether they are there or not."""
        with self._lock:
            self._keep(client, self._left(client) - tokens)

    def _left(self, client: str) -> float:
        tokens, at = self._buckets.get(client, (self._burst, self._clock()))
        return min(self._burst, tokens + (self._clock() - at) * self._per_second)

    def _keep(self, client: str, tokens: float) -> None:
        self._buckets[client] = (tokens, self._clock())
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)


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
