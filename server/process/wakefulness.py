"""How long a thread with nothing to do looks for the next event before it sleeps."""

from __future__ import annotations

LEAST = 2.5e-5
"""Seconds that it begins with."""


class Wakefulness:
    """Seconds to stay awake, by how long the last waits were: none, unless events come fast.

    To wake a processor takes as long as a good part of a call. The time doubles with each wait of no more than `most`
    seconds, up to those, and a longer wait ends it: where calls are few, hardly any time is spent awake, and where they
    are many, there is hardly any to spend. It is how KVM polls before it halts a processor, see
    https://docs.kernel.org/virt/kvm/halt-polling.html.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self.seconds = 0.0

    def waited(self, seconds: float) -> None:
        """An event came after so many seconds."""
        if seconds > self._most:
            self.seconds = 0.0
        else:
            self.seconds = min(self._most, max(LEAST, 2 * self.seconds))
