"""What a worker is told when it starts, and what it says back."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.models.processes import ProcessState
from server.settings import Settings
from shoprank.errors import ShoprankError


@dataclass(frozen=True, slots=True)
class Assignment:
    """A worker's part. It is pickled, so that secrets among the settings arrive as they are.

    settings: with the port that all workers share. place: 0 ≤ place < workers, decides its cores; for a moment of a
    rolling restart two workers have one place. slot: 0 ≤ slot ≤ workers, no two living workers have the same, and a
    worker takes over the slot of the one that ended in its place. cores: what it may run on, all of them where it is
    empty. block: name of the supervisor's block of telemetry, None where metrics are off. pseudonym_key: for user ids
    in logs, where the settings name no file of one.
    """

    settings: Settings
    place: int
    slot: int
    workers: int
    cores: tuple[int, ...]
    pseudonym_key: bytes = field(repr=False)
    block: str | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """The worker answers calls. description: what it serves, for people."""

    description: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker could not start."""

    error: ShoprankError


@dataclass(frozen=True, slots=True)
class Alive:
    """The worker's main thread runs."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the worker has of a model has changed; the supervisor tells the others."""

    model: str
    state: ProcessState


Report = Serving | Failed | Alive | Loaded
