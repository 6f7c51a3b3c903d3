"""A worker's slot as the worker writes it."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Sequence

from server.telemetry import processes
from server.telemetry.layout import LAYOUT
from server.telemetry.metric import Gauge
from server.telemetry.window import Window

HEAD = 8
PID, STARTED, STARTS = range(3)
"""Cells of a slot's head: the process that has it, when that was started as `processes.started` has it, and how many
have had it."""


class Slot:
    """The cells of this process, and a lock that its threads hold while they change some.

    head, cells: views of doubles, HEAD and `LAYOUT.width` of them. An addition reads and writes: without the lock two
    threads could lose one. window: of the rows sampled for drift. What was counted in the slot before stays, what was
    so at the moment is cleared.
    """

    __slots__ = ("_head", "cells", "lock", "window")

    def __init__(self, head: memoryview[float], cells: memoryview[float], window: Window) -> None:
        self._head = head
        self.cells = cells
        head[PID], head[STARTED] = os.getpid(), processes.started(os.getpid())
        head[STARTS] += 1
        self.lock = threading.Lock()
        self.window = window
        for metric in LAYOUT.metrics:
            if isinstance(metric, Gauge):
                first = LAYOUT.first(metric)
                for at in range(first, first + len(metric.series)):
                    cells[at] = 0.0

    @classmethod
    def private(cls) -> Slot:
        """A slot that no other process sees."""
        head, cells = (memoryview(bytearray(8 * width)).cast("d") for width in (HEAD, LAYOUT.width))
        return cls(head, cells, Window.private())

    def release(self) -> None:
        """The process ends as it should: nobody is missing."""
        self._head[PID] = 0.0

    def add(self, at: int, amount: float = 1.0) -> None:
        """Add to a cell."""
        with self.lock:
            self.cells[at] += amount

    def put(self, at: int, value: float) -> None:
        """Set a cell."""
        self.cells[at] = value

    def observe(self, at: int, bounds: Sequence[float], value: float) -> None:
        """Count a value in the histogram at `at`."""
        with self.lock:
            self.cells[at + bisect_left(bounds, value)] += 1.0
            self.cells[at + len(bounds) + 1] += value
