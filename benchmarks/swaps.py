"""Two hundred changes of the active version under load: calls failed, versions mixed, and what a caller feels.

Run as `python -m benchmarks.swaps`; writes benchmarks/results/swaps.json. One server process, clients in this one. The
second version is the first with its log-odds raised by a half, so that each reply tells which one gave it. Every number
of every reply is held against what the version it names gave while it alone served.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import psutil
import pyarrow.parquet as pq
from onnx import helper, numpy_helper

from feature_repo.paths import DataPaths, write_json
from feature_repo.snapshots import snapshot_path
from shoprank import Client, bundle
from shoprank.bundle import Manifest
from shoprank.errors import ShoprankError
from shoprank.models import ModelClient
from training.schedule import Schedule

MODEL = "purchase"
SWAPS = 200
COLD_SWAPS = 30
CLIENTS = 2
USERS, CANDIDATES = 20, 100
SHIFT = 0.5
PAUSE = 0.05
"""Seconds between swaps."""
LAST_BITS = 1e-5
"""A ranking may differ by so much with what it is ranked beside; versions differ by far more."""

Columns = npt.NDArray[np.float64]


@dataclass
class Load:
    """What the clients saw: replies, latencies in milliseconds, calls that failed, and replies of mixed versions."""

    replies: int = 0
    milliseconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    mixed: int = 0
    versions: set[int] = field(default_factory=set)

    def summary(self) -> dict[str, Any]:
        """For the results."""
        taken = np.array(self.milliseconds)
        return {
            "calls": self.replies + len(self.failed),
            "failed": len(self.failed),
            "mixed_replies": self.mixed,
            "versions_seen": sorted(self.versions),
            "median_ms": float(np.median(taken)),
            "p99_ms": float(np.quantile(taken, 0.99)),
            "max_ms": float(taken.max()),
        }


def shifted(source: Path, target: Path, version: int) -> None:
    """A bundle like `source` whose log-odds are higher by SHIFT, as `version`."""
    target.mkdir()
    for name in Manifest.read(source).files:
        if name.endswith(".onnx"):
            onnx.save(raised(onnx.load(source / name)), target / name)
        elif name != bundle.GOLDEN:
            shutil.copy(source / name, target / name)
    with np.load(source / bundle.GOLDEN) as kept:
        golden = dict(kept)
    session = ort.InferenceSession(str(target / bundle.MODEL))
    outputs = [o.name for o in session.get_outputs()]
    answers = session.run(outputs, {name: golden[name] for name in ("numeric", "categorical")})
    np.savez(target / bundle.GOLDEN, **{**golden, **dict(zip(outputs, answers, strict=True))})
    manifest = Manifest.read(source)
    files = {name: bundle.sha256(target / name) for name in manifest.files}
    described = Manifest(**{**_fields(manifest), "version": version, "files": files})
    (target / bundle.MANIFEST).write_text(described.to_json())


def _fields(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in Manifest.__slots__}


def raised(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with a constant added to its output `logit`, and `probability` made of that; as it is without one."""
    if "logit" not in {output.name for output in graph.graph.output}:
        return graph
    for node in graph.graph.node:
        node.output[:] = [f"{name}_before" if name in ("logit", "probability") else name for name in node.output]
        node.input[:] = [f"{name}_before" if name in ("logit", "probability") else name for name in node.input]
    graph.graph.initializer.append(numpy_helper.from_array(np.array(SHIFT, np.float32), "shift"))
    graph.graph.node.append(helper.make_node("Add", ["logit_before", "shift"], ["logit"]))
    graph.graph.node.append(helper.make_node("Sigmoid", ["logit"], ["probability"]))
    return graph


@contextmanager
def server(data: Path, repository: Path, keep: int) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server of the repository, and its process."""
    command = ["shoprank", "serve", "--data", str(data), "--model-repository", str(repository), "--port", "0"]
    running = subprocess.Popen(
        [sys.executable, "-m", *command, "--clock", "snapshot"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "SHOPRANK_MODELS__KEEP": str(keep)},
    )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        if not line:
            raise SystemExit("swaps: the server did not start")
        yield line.split()[-1], psutil.Process(running.pid)
    finally:
        running.terminate()
        running.wait(30)


def agree(one: tuple[tuple[str, ...], Columns], other: tuple[tuple[str, ...], Columns]) -> bool:
    """Whether two rankings hold the same items with the same numbers, but for the last bits, the best first."""
    places = {item: place for place, item in enumerate(other[0])}
    if set(one[0]) != set(places):
        return False
    near = np.abs(one[1] - other[1][[places[item] for item in one[0]]]).max() <= LAST_BITS
    return bool(near and (np.diff(one[1][:, 2]) <= 0).all())


class Asker:
    """Asks for rankings, and knows what each version answers."""

    def __init__(self, address: str, users: list[str], items: list[str]) -> None:
        self._address = address
        self._users = users
        self._items = items
        self._right: dict[tuple[int, str], tuple[tuple[str, ...], Columns]] = {}

    def learn(self, admin: ModelClient) -> None:
        """Ask each version while it alone serves."""
        with Client(self._address, timeout=10) as client:
            for version in (1, 2):
                admin.activate(MODEL, version)
                for user in self._users:
                    named, ids, numbers = self._ask(client, user)
                    if named != version:
                        raise SystemExit(f"swaps: version {named} answered, not {version}")
                    self._right[version, user] = ids, numbers

    def load(self, stopped: threading.Event, seen: Load) -> None:
        """Ask one after the other until it is stopped."""
        with Client(self._address, timeout=10) as client:
            while not stopped.is_set():
                user = self._users[seen.replies % len(self._users)]
                began = time.perf_counter()
                try:
                    version, items, numbers = self._ask(client, user)
                except ShoprankError as error:
                    seen.failed.append(str(error))
                    continue
                seen.milliseconds.append((time.perf_counter() - began) * 1e3)
                seen.replies += 1
                seen.versions.add(version)
                seen.mixed += not agree((items, numbers), self._right[version, user])

    def _ask(self, client: Client, user: str) -> tuple[int, tuple[str, ...], Columns]:
        ranking = client.rank(user, self._items)
        numbers = np.array([(r.probability, r.purchase_probability, r.logit) for r in ranking])
        return ranking.served_by.model_version, tuple(r.item_id for r in ranking), numbers


def under_load(asker: Asker, work: Callable[[], None]) -> dict[str, Any]:
    """What the clients see while the work is done."""
    stopped, seen = threading.Event(), [Load() for _ in range(CLIENTS)]
    threads = [threading.Thread(target=asker.load, args=(stopped, one)) for one in seen]
    for thread in threads:
        thread.start()
    work()
    stopped.set()
    for thread in threads:
        thread.join()
    whole = Load(
        replies=sum(one.replies for one in seen),
        milliseconds=[taken for one in seen for taken in one.milliseconds],
        failed=[error for one in seen for error in one.failed],
        mixed=sum(one.mixed for one in seen),
        versions=set().union(*(one.versions for one in seen)),
    )
    return whole.summary()


def swapping(admin: ModelClient, count: int, taken: list[float]) -> Callable[[], None]:
    """Make the other version active, so many times; notes how long each change takes, milliseconds."""

    def work() -> None:
        for swap in range(count):
            began = time.perf_counter()
            if swap % 2:
                admin.rollback(MODEL)
            else:
                admin.activate(MODEL, 1 if admin.list(MODEL)[0].current == 2 else 2)
            taken.append((time.perf_counter() - began) * 1e3)
            time.sleep(PAUSE)

    return work


def asked(data: Path) -> tuple[list[str], list[str]]:
    """Some users and items of the newest features."""
    paths = DataPaths(data)
    cutoff, rng = Schedule.read(paths).serving, np.random.default_rng(0)
    users = pq.read_table(snapshot_path(paths, "user_features", cutoff), columns=["user_id"])["user_id"].to_pylist()
    items = pq.read_table(snapshot_path(paths, "item_features", cutoff), columns=["item_id"])["item_id"].to_pylist()
    return (
        [users[i] for i in rng.choice(len(users), USERS, replace=False)],
        [items[i] for i in rng.choice(len(items), CANDIDATES, replace=False)],
    )


def memory(process: psutil.Process, admin: ModelClient, items: int) -> dict[str, float]:
    """MB of memory that are the process's own, with one version and with the second loaded beside it."""
    one = process.memory_full_info().uss
    admin.load(MODEL, 2)
    both = process.memory_full_info().uss
    return {
        "one_version_mb": one / 1e6,
        "second_version_mb": (both - one) / 1e6,
        "kb_an_item": (both - one) / items / 1e3,
    }


def run(data: Path, source: Path) -> dict[str, Any]:
    """All phases, in a copy of the repository."""
    users, items = asked(data)
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        (repository / MODEL).mkdir(parents=True)
        shutil.copytree(bundle.current(source, MODEL), repository / MODEL / "1")
        renumber(repository / MODEL / "1")
        shifted(repository / MODEL / "1", repository / MODEL / "2", 2)
        bundle.activate(repository, MODEL, 1)
        results: dict[str, Any] = {"clients": CLIENTS, "candidates": CANDIDATES}
        for name, keep, count in (("kept_loaded", 2, SWAPS), ("loaded_from_disk", 0, COLD_SWAPS)):
            with server(data, repository, keep) as (address, process), ModelClient(address) as admin:
                asker, taken = Asker(address, users, items), list[float]()
                if "memory" not in results:
                    results["memory"] = memory(process, admin, pq.read_metadata(DataPaths(data).items).num_rows)
                    admin.unload(MODEL, 2)
                asker.learn(admin)
                quiet = under_load(asker, lambda: time.sleep(8))
                busy = under_load(asker, swapping(admin, count, taken))
                results[name] = {
                    "swaps": count,
                    "swap_median_ms": float(np.median(taken)),
                    "swap_max_ms": max(taken),
                    "while_swapping": busy,
                    "without_swaps": quiet,
                }
            print(describe(name, results[name]), flush=True)
    return results


def renumber(directory: Path) -> None:
    """Make the copied bundle's manifest say version 1."""
    manifest = Manifest.read(directory)
    (directory / bundle.MANIFEST).write_text(Manifest(**{**_fields(manifest), "version": 1}).to_json())


def describe(name: str, result: dict[str, Any]) -> str:
    """One line of a phase."""
    busy, quiet = result["while_swapping"], result["without_swaps"]
    return (
        f"swaps {name}: {result['swaps']} in {busy['calls']:,} calls, {busy['failed']} failed, "
        f"{busy['mixed_replies']} mixed; a swap takes {result['swap_median_ms']:.1f} ms; a call "
        f"{busy['median_ms']:.2f} ms (p99 {busy['p99_ms']:.2f}), without swaps {quiet['median_ms']:.2f} ms "
        f"(p99 {quiet['p99_ms']:.2f})"
    )


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/swaps.json"))
    given = parser.parse_args()
    results = run(given.data, given.model_repository)
    write_json(given.out, results)
    print(f"swaps: results in {given.out}")
    phases = [results[name]["while_swapping"] for name in ("kept_loaded", "loaded_from_disk")]
    if any(phase["failed"] or phase["mixed_replies"] for phase in phases):
        sys.exit("swaps: calls failed or versions mixed")


if __name__ == "__main__":
    main()
