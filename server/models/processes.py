"""What the processes that share the port have loaded: the place where a supervisor tells them of each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process's state of a model. active: version that serves, None where none does. loaded: ascending."""

    pid: int
    active: int | None
    loaded: tuple[int, ...]


class Processes(Protocol):
    """Where each process says what it has, and reads what the others said."""

    def publish(self, model: str, state: ProcessState) -> None:
        """This process has changed. Must not block."""
        ...

    def states(self, model: str) -> Sequence[ProcessState]:
        """The last word of every process that serves, this one included."""
        ...


class OneProcess:
    """A server of one process."""

    def __init__(self) -> None:
        self._states: dict[str, ProcessState] = {}

    def publish(self, model: str, state: ProcessState) -> None:
        self._states[model] = state

    def states(self, model: str) -> Sequence[ProcessState]:
        return (self._states.get(model, ProcessState(os.getpid(), None, ())),)
