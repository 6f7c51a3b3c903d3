"""Whose turn it is, of several threads, to do what one does at a time."""

from __future__ import annotations

import threading
from time import monotonic

OVERDUE_SECONDS = 0.05
"""Time after which a thread that has its turn, and is busy with something else, loses it to another."""


class Turns:
    """Something that threads take turns at."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.holder: Turn | None = None

    def take(self, turn: Turn) -> bool:
        """Wait until it is this thread's turn; True where it was taken from one that was busy for too long."""
        with self._changed:
            while self.holder is not None:
                busy_since = self.holder.busy_since
                if busy_since is not None and monotonic() - busy_since > OVERDUE_SECONDS:
                    break
                self._changed.wait(OVERDUE_SECONDS)
            taken, self.holder = self.holder is not None, turn
            return taken

    def leave(self, turn: Turn) -> None:
        """Let another thread have its turn, where it is still this one's."""
        with self._changed:
            if self.holder is turn:
                self.holder = None
                self._changed.notify()


class Turn:
    """A thread's part in it. busy_since: when it began to do something else in its turn, by the monotonic clock."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.busy_since: float | None = None
        _here.turn = self

    @property
    def mine(self) -> bool:
        """Whether it is this thread's."""
        return self._turns.holder is self

    def take(self) -> bool:
        """Wait until it is this thread's turn, at once where it still is; True where it was taken from another."""
        self.busy_since = None
        return self._turns.holder is not self and self._turns.take(self)

    def busy(self) -> None:
        """The thread now does something else, which should take little; see OVERDUE_SECONDS."""
        self.busy_since = monotonic()

    def leave(self) -> None:
        """Let another thread have its turn."""
        self._turns.leave(self)


_here = threading.local()


def step_aside() -> None:
    """Let another thread have its turn, where it is this one's: what it does next takes long."""
    turn: Turn | None = getattr(_here, "turn", None)
    if turn is not None:
        turn.leave()
