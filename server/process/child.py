"""A worker process as its supervisor sees it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from time import monotonic

from server.models.processes import ProcessState
from server.process.assignment import Assignment, Report
from shoprank.errors import ShoprankError


@dataclass(slots=True, eq=False)
class Child:
    """A worker process. Times are `monotonic`.

    heard: when it last said something. serving: whether it answers calls. kill_at: when it is killed if it has not
    ended by itself; None where nobody told it to end. error: what kept it from starting, if it said so. loaded: what it
    has of each model, by its name.
    """

    assignment: Assignment
    process: subprocess.Popen[bytes]
    connection: Connection
    started: float = field(default_factory=monotonic)
    heard: float = field(default_factory=monotonic)
    serving: bool = False
    kill_at: float | None = None
    error: ShoprankError | None = None
    loaded: dict[str, ProcessState] = field(default_factory=dict)

    @classmethod
    def spawn(cls, assignment: Assignment) -> Child:
        """Start a worker in a fresh interpreter: threads of gRPC and ONNX Runtime do not outlive a fork."""
        ours, theirs = Pipe()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "server.process.worker", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                process_group=0,  # Ctrl-C is for the supervisor, which then ends its workers in order
            )
        ours.send(assignment)
        return cls(assignment, process, ours)

    def __str__(self) -> str:
        return f"worker {self.place}, slot {self.assignment.slot}, process {self.process.pid},"

    @property
    def place(self) -> int:
        """Its place among the workers."""
        return self.assignment.place

    @property
    def stopping(self) -> bool:
        """Whether it was told to end."""
        return self.kill_at is not None

    def receive(self) -> Report | None:
        """What it said; None where it has ended."""
        try:
            report: Report = self.connection.recv()
        except (EOFError, OSError):
            return None
        self.heard = monotonic()
        return report

    def tell(self, others: dict[str, list[ProcessState]]) -> None:
        """Tell it what each serving worker has of each model."""
        with contextlib.suppress(OSError):  # it has ended, which `receive` will say
            self.connection.send(others)

    def stop(self, within: float) -> None:
        """Tell it to answer what it has begun and to end within so many seconds."""
        if self.kill_at is None:
            self.kill_at = monotonic() + within
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self.process.kill()

    def end(self) -> int:
        """Wait for its end, once it has closed its side, and return its exit code."""
        self.connection.close()
        try:
            return self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
