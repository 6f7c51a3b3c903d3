"""A shadow scores what was answered, later, and never at a caller's cost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from server.models.counts import Counts
from server.models.model import Model
from server.models.rotation import RotatingFile
from server.models.shadow import Answered, Shadow, Shadowing


def challenger(score: Callable[[Any], tuple[Any, Any]] | None = None) -> Model:
    """Version 2, which gives the double of what was served."""
    double = lambda asked: (None, np.float32(2) * asked.served)  # noqa: E731
    return cast(Model, SimpleNamespace(manifest=SimpleNamespace(model="m", version=2), score=score or double))


def answered(user: str = "u", items: int = 3, served: int = 1) -> Answered:
    logits = np.arange(items, dtype=np.float32)
    asked = SimpleNamespace(items=SimpleNamespace(ids=[f"i{i}" for i in range(items)]), served=logits)
    return Answered("request 7", user, cast(Any, asked), logits, served)


class Room:
    """A shadowing that writes to a file."""

    def __init__(self, root: Path, calls: int = 1_000, rows: int = 100_000) -> None:
        self.path = root / "logs" / "shadow.jsonl"
        self.counts = Counts()
        out = RotatingFile(self.path, 10_000_000, 2)
        self.shadowing = Shadowing(out, calls, rows, lambda user: f"<{len(user)}>", self.counts, Random(1))

    def lines(self, count: int) -> list[dict[str, Any]]:
        """The lines, once there are so many."""
        end = time.monotonic() + 10
        while self.counts.shadowed + self.counts.shadow_failed < count and time.monotonic() < end:
            time.sleep(0.005)
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_both_answers_are_written_with_a_pseudonym_of_the_user(room: Room) -> None:
    room.shadowing.offer(Shadow(challenger(), 10_000), answered("secret"))
    (line,) = room.lines(1)
    del line["time"]
    assert line == {
        "request_id": "request 7",
        "user": "<6>",
        "model": "m",
        "served_version": 1,
        "shadow_version": 2,
        "item_ids": ["i0", "i1", "i2"],
        "served_logits": [0.0, 1.0, 2.0],
        "shadow_logits": [0.0, 2.0, 4.0],
    }
    assert "secret" not in room.path.read_text()


def test_the_file_is_for_its_owner_alone(room: Room) -> None:
    room.shadowing.offer(Shadow(challenger(), 10_000), answered())
    room.lines(1)
    assert room.path.stat().st_mode & 0o777 == 0o600


def test_a_share_of_the_calls_is_scored(tmp_path: Path) -> None:
    room = Room(tmp_path, calls=20_000)
    for _ in range(10_000):
        room.shadowing.offer(Shadow(challenger(), 2_500), answered(items=1))
    time.sleep(0.1)
    room.shadowing.stop()
    total = room.counts.shadowed + room.counts.shadow_dropped
    assert total == pytest.approx(2_500, abs=250)


def test_a_call_that_the_challenger_answered_itself_is_left_out(room: Room) -> None:
    room.shadowing.offer(Shadow(challenger(), 10_000), answered(served=2))
    room.shadowing.offer(Shadow(challenger(), 10_000), answered(served=1))
    assert len(room.lines(1)) == 1


@pytest.mark.parametrize(("calls", "rows", "kept"), [(5, 1_000, 5), (1_000, 12, 4)])
def test_what_does_not_fit_is_dropped_at_once(tmp_path: Path, calls: int, rows: int, kept: int) -> None:
    room = Room(tmp_path, calls, rows)
    begun, release = threading.Event(), threading.Event()

    def slow(asked: Any) -> tuple[Any, Any]:
        begun.set()
        release.wait(10)
        return None, asked.served

    shadow = Shadow(challenger(slow), 10_000)
    room.shadowing.offer(shadow, answered())
    assert begun.wait(5)
    began = time.monotonic()
    for _ in range(500):
        room.shadowing.offer(shadow, answered())
    taken = time.monotonic() - began
    assert room.counts.shadow_dropped == 500 - kept
    assert taken < 0.5
    release.set()
    assert len(room.lines(1 + kept)) == 1 + kept


def test_a_challenger_that_fails_is_counted_and_the_next_call_scored(room: Room) -> None:
    def broken(asked: Any) -> tuple[Any, Any]:
        raise RuntimeError("no such input")

    room.shadowing.offer(Shadow(challenger(broken), 10_000), answered())
    room.shadowing.offer(Shadow(challenger(), 10_000), answered())
    assert len(room.lines(2)) == 1
    assert (room.counts.shadow_failed, room.counts.shadowed) == (1, 1)


def test_nothing_is_taken_in_after_the_end(room: Room) -> None:
    room.shadowing.stop()
    room.shadowing.offer(Shadow(challenger(), 10_000), answered())
    assert room.counts.shadow_dropped == 1


def test_a_full_file_is_rotated_and_the_oldest_dropped(tmp_path: Path) -> None:
    out = RotatingFile(tmp_path / "log", 1_000, 2)
    for n in range(100):
        out.write(f"{n:099d}")
    kept = sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("."))
    assert kept == ["log", "log.1", "log.2"]
    lines = [int(line) for name in ("log.2", "log.1", "log") for line in (tmp_path / name).read_text().splitlines()]
    assert lines == list(range(70, 100))


def test_lines_of_many_writers_never_mix_and_none_is_lost(tmp_path: Path) -> None:
    def write(name: int) -> None:
        out = RotatingFile(tmp_path / "log", 20_000, 100)
        for n in range(200):
            out.write(json.dumps([name, n, "x" * 100]))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert sorted((a, b) for a, b, _ in lines) == [(a, b) for a in range(4) for b in range(200)]
