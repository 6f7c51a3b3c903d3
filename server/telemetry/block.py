"""Shared memory in which workers count, a slot each, and from which one process reads.

A file that is mapped by all of them, in memory where the system has such a place. Every number is eight bytes and
aligned, so a reader sees it before or after a change and never half changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.telemetry import processes
from server.telemetry.layout import LAYOUT
from server.telemetry.slot import HEAD, PID, STARTED, Slot
from server.telemetry.window import CELLS, PARTS, Window
from shoprank.errors import ShoprankError, UserError

MAGIC = b"shoprank telemetry"
HEADER = struct.Struct("<18s32sII")
PAGE = 4_096
PREFIX = "shoprank-telemetry-"
MEMORY = Path("/dev/shm")

SLOT_BYTES = -(-(8 * (HEAD + LAYOUT.width + 2 * PARTS) + 4 * PARTS * CELLS) // PAGE) * PAGE
"""Whole pages, so that two workers never write to one."""


@dataclass(slots=True)
class Block:
    """The memory, as one process has mapped it.

    name: what other processes attach by. slots: how many there are; a slot has one writer at a time.
    """

    name: str
    slots: int
    _memory: mmap.mmap
    _descriptor: int | None = None

    @classmethod
    def create(cls, slots: int) -> Block:
        """A new block of empty slots, gone when this process closes it or ends."""
        folder = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        _sweep(folder)
        descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # for `_sweep` of others: held until this process ends
        os.truncate(descriptor, PAGE + slots * SLOT_BYTES)
        os.pwrite(descriptor, HEADER.pack(MAGIC, LAYOUT.fingerprint, SLOT_BYTES, slots), 0)
        return cls(name, slots, mmap.mmap(descriptor, 0), descriptor)

    @classmethod
    def attach(cls, name: str) -> Block:
        """The block of that name. Raises UserError where there is none, or it is of another version of shoprank."""
        try:
            with Path(name).open("r+b") as file:
                magic, fingerprint, size, slots = HEADER.unpack(file.read(HEADER.size))
                memory = mmap.mmap(file.fileno(), 0)
        except (OSError, ValueError, struct.error) as error:
            raise UserError(f"{name}: no block of telemetry: {error}") from error
        if (magic, fingerprint, size) != (MAGIC, LAYOUT.fingerprint, SLOT_BYTES):
            raise UserError(f"{name}: no block of telemetry of this version of shoprank")
        return cls(name, slots, memory)

    def slot(self, index: int) -> Slot:
        """Take a slot for this process. Raises ShoprankError where another living process has it."""
        if not 0 <= index < self.slots:
            raise UserError(f"slot {index}: the block has {self.slots}")
        head = memoryview(self._memory)[_at(index) : _at(index) + 8 * HEAD].cast("d")
        pid = int(head[PID])
        if pid and pid != os.getpid() and processes.lives(pid, head[STARTED]):
            raise ShoprankError(f"slot {index} of {self.name} belongs to process {pid}")
        start = _at(index) + 8 * HEAD
        cells = memoryview(self._memory)[start : start + 8 * LAYOUT.width].cast("d")
        return Slot(head, cells, Window(*self._window(index)))

    def release(self, index: int) -> None:
        """Say of a slot whose process has ended that nobody is missing. What was counted in it stays."""
        np.frombuffer(self._memory, np.float64, HEAD, _at(index))[PID] = 0.0

    def heads(self) -> npt.NDArray[np.float64]:
        """The slots' heads, float64 (slots, 8), as they are now."""
        return np.stack([np.frombuffer(self._memory, np.float64, HEAD, _at(i)) for i in range(self.slots)])

    def cells(self) -> npt.NDArray[np.float64]:
        """The slots' cells, float64 (slots, width), as they are now."""
        width = LAYOUT.width
        return np.stack([np.frombuffer(self._memory, np.float64, width, _at(i) + 8 * HEAD) for i in range(self.slots)])

    def windows(self) -> list[Window]:
        """The slots' windows, which change."""
        return [Window(*self._window(i)) for i in range(self.slots)]

    def close(self) -> None:
        """Remove the block, in the process that made it; those who have it mapped keep their memory."""
        if self._descriptor is not None:
            with contextlib.suppress(FileNotFoundError):
                Path(self.name).unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def _window(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        start = _at(index) + 8 * (HEAD + LAYOUT.width)
        heads = np.frombuffer(self._memory, np.int64, 2 * PARTS, start).reshape(PARTS, 2)
        counts = np.frombuffer(self._memory, np.uint32, PARTS * CELLS, start + 16 * PARTS)
        return heads, counts.reshape(PARTS, CELLS)


def _at(index: int) -> int:
    return PAGE + index * SLOT_BYTES


def _sweep(folder: Path) -> None:
    """Remove blocks whose makers were killed: a living one holds a lock on its own."""
    for path in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
