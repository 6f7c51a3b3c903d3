"""What is counted in shared memory is counted once, by whoever counts it, and stays counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.telemetry import block as blocks
from server.telemetry import registry
from server.telemetry.block import Block
from server.telemetry.layout import LAYOUT
from server.telemetry.slot import STARTS
from shoprank.errors import ShoprankError, UserError

SWAPS, IN_FLIGHT = LAYOUT.first(registry.SWAPS), LAYOUT.first(registry.IN_FLIGHT)

WORKER = """
import sys
from server.telemetry import registry
from server.telemetry.block import Block
from server.telemetry.layout import LAYOUT
slot = Block.attach(sys.argv[1]).slot(int(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    slot.add(LAYOUT.first(registry.SWAPS))
slot.add(LAYOUT.first(registry.IN_FLIGHT))
print("counted", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def block() -> Iterator[Block]:
    made = Block.create(3)
    yield made
    made.close()


class Worker:
    """A process that counts in a slot and then waits."""

    def __init__(self, block: Block, slot: int, count: int) -> None:
        command = [sys.executable, "-c", WORKER, block.name, str(slot), str(count)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "counted\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def test_two_processes_count_in_one_block(block: Block) -> None:
    workers = [Worker(block, slot, count) for slot, count in ((0, 100), (1, 50))]
    assert block.cells()[:, SWAPS].tolist() == [100, 50, 0]
    for worker in workers:
        worker.kill()


def test_counters_go_on_where_a_killed_worker_left_them_and_what_was_in_flight_is_gone(block: Block) -> None:
    Worker(block, 0, 100).kill()
    assert block.cells()[0, [SWAPS, IN_FLIGHT]].tolist() == [100, 1]
    second = Worker(block, 0, 7)
    assert block.cells()[0, [SWAPS, IN_FLIGHT]].tolist() == [107, 1]
    assert block.heads()[0, STARTS] == 2
    second.kill()


def test_threads_lose_no_count(block: Block) -> None:
    slot = block.slot(0)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads meet in the middle of an addition

    def count() -> None:
        for _ in range(20_000):
            slot.add(SWAPS)
            slot.observe(LAYOUT.first(registry.CANDIDATES), registry.COUNTS, 3.0)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    at = LAYOUT.first(registry.CANDIDATES)
    cells = block.cells()[0]
    assert cells[SWAPS] == 160_000
    assert cells[at : at + registry.CANDIDATES.size].sum() == 160_000 + 3 * 160_000


def test_a_slot_of_a_living_process_is_not_given_to_another(block: Block) -> None:
    worker = Worker(block, 1, 0)
    with pytest.raises(ShoprankError, match=f"slot 1 of .* belongs to process {worker.process.pid}"):
        block.slot(1)
    worker.kill()
    block.slot(1).add(SWAPS)


def test_what_is_no_block_is_refused(tmp_path: Path, block: Block) -> None:
    with pytest.raises(UserError, match="no block of telemetry"):
        Block.attach(str(tmp_path / "none"))
    other = tmp_path / "other"
    other.write_bytes(b"x" * 10_000)
    with pytest.raises(UserError, match="of this version of shoprank"):
        Block.attach(str(other))
    with pytest.raises(UserError, match="slot 3: the block has 3"):
        block.slot(3)


def test_a_block_of_another_version_is_refused(block: Block) -> None:
    with Path(block.name).open("r+b") as file:
        file.seek(30)
        file.write(b"\0\0\0\0")
    with pytest.raises(UserError, match="of this version of shoprank"):
        Block.attach(block.name)


def test_a_closed_block_leaves_no_file_and_one_whose_maker_was_killed_is_swept(tmp_path: Path) -> None:
    made = Block.create(1)
    made.close()
    assert not Path(made.name).exists()
    maker = "from server.telemetry.block import Block; import os; print(Block.create(1).name, flush=True); os._exit(1)"
    left = Path(subprocess.run([sys.executable, "-c", maker], capture_output=True, text=True, check=False).stdout[:-1])
    assert left.exists()
    kept = Block.create(1)
    assert not left.exists()
    assert Path(kept.name).exists()
    Block.create(1).close()
    assert Path(kept.name).exists(), "a living process's block was swept"
    kept.close()


def test_a_block_is_for_its_owner_alone(block: Block) -> None:
    assert Path(block.name).stat().st_mode & 0o077 == 0
    assert os.path.getsize(block.name) == blocks.PAGE + 3 * blocks.SLOT_BYTES  # noqa: PTH202
