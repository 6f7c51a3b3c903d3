"""Batch scoring as a whole: parts of the input in processes of their own; what is there already is kept."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.paths import DataPaths
from feature_repo.store import MATERIALIZED, applied_store
from server.batch import part as parts
from server.batch.score import Scorer
from server.batch.source import Asked, Kind, Part, parts_of, read
from server.catalogue import Catalogue, Listing
from server.features import OnlineFeatures
from server.items import Items
from server.models.model import load, require_own_shop
from server.parse import FIRST, LAST
from shoprank.bundle import MANIFEST, sha256
from shoprank.errors import ShoprankError, UserError

WORTH_PROCESSES = 10_000_000
"""Pairs to score from which it pays to start processes, which takes seconds each."""
CANDIDATES = 100
"""Items a user, about, where the input names them."""
TOP_K = 100
"""Items of each ranking where nobody says."""
FORMAT = 1
"""Version of the answers' files; other ones are made again."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to score with, and where to write it.

    model: directory of a bundle. top_k: items of each ranking, TOP_K where it is None. temperature: of the softmax, 1
    where it is None; pairs have neither. time: seconds since 1970 UTC that features are taken at; None for that of the
    newest item features.
    """

    paths: DataPaths
    model: Path
    out: Path
    top_k: int | None = None
    temperature: float | None = None
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: rows of the input, and rows of answers that this run has written."""

    rows: int
    total: int
    parts: int
    kept: int
    written: int


class Opened:
    """A model and a store to score from, open in this process."""

    def __init__(self, job: Job) -> None:
        self.features = OnlineFeatures(applied_store(job.paths))
        self.model = load(job.model)
        catalogue = Catalogue.read(job.paths.items)
        require_own_shop(self.model, catalogue.ids, job.paths.root)
        self.catalogue = len(catalogue.ids)
        self.items = Items(self.features, max(1_000, len(catalogue.ids) * 5 // 4))
        listing = Listing(self.items, catalogue)
        self.time = listing.newest(self.features.items_version()) if job.time is None else job.time
        self.scorer = Scorer(self.model, self.features, self.items, listing, self.time)
        self._job = job
        self._top_k = TOP_K if job.top_k is None else job.top_k
        self._temperature = 1.0 if job.temperature is None else job.temperature
        mark = job.paths.feast / MATERIALIZED
        self._snapshot = mark.read_text() if mark.is_file() else ""
        self._manifest = sha256(job.model / MANIFEST)

    def identity(self, part: Part, kind: Kind) -> str:
        """What a part's answers are made of now."""
        facts: dict[str, Any] = {
            "format": FORMAT,
            "input": [part.digest, part.group, kind.value],
            "model": self._manifest,
            "store": [self._job.paths.redis, self._snapshot, *self.features.versions()],
            "time": self.time,
        }
        if kind is not Kind.PAIRS:
            facts |= {"top_k": self._top_k, "temperature": self._temperature}
        return parts.identity_of(facts)

    def answers(self, asked: Asked, kind: Kind) -> pa.Table:
        """The answers to a part's rows."""
        scorer, top_k, temperature = self.scorer, self._top_k, self._temperature
        users: list[str] = asked.user_ids.to_pylist()
        if kind is Kind.PAIRS:
            return parts.pairs_table(asked, scorer.pairs(users, asked.item_ids, asked.users, asked.items))
        users = [users[i] for i in asked.users.tolist()]
        if kind is Kind.CANDIDATES:
            made = scorer.rank(users, asked.item_ids, asked.ends, asked.items, top_k, temperature)
            return parts.rankings_table(users, asked.item_ids, made)
        made, item_ids = scorer.rank_catalogue(users, top_k, temperature)
        return parts.rankings_table(users, pa.array(item_ids), made)


def run(job: Job, source: Path, processes: int | None = 1) -> Iterator[Progress]:
    """Score a Parquet file, or those below a folder, telling how far it is after each part.

    processes: how many score at once; None for one a core, or one alone where the work takes less than their start.

    Raises UserError where the input or a setting is bad, ShoprankError where a process was ended from outside; what was
    written until then is kept, and another run goes on from there.
    """
    for name, value in (("top_k", job.top_k), ("temperature", job.temperature)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UserError(f"{name} {value}: must be above 0")
    if job.time is not None and not FIRST <= job.time < LAST:
        raise UserError(f"time {job.time}: is not between 1970 and 9999, in seconds since 1970")
    if source.is_dir() and source.resolve() in job.out.resolve().parents:
        raise UserError(f"{job.out}: lies below {source}, where every .parquet file is read; choose another with --out")
    kind, all_parts = parts_of(source)
    if kind is Kind.PAIRS and (job.top_k, job.temperature) != (None, None):
        raise UserError(f"{source}: holds pairs, each of which is scored; top_k and temperature are for rankings alone")
    opened = Opened(job)
    wanted = {one.name: opened.identity(one, kind) for one in all_parts}
    about = {"input": str(source), "kind": kind.value, "model": str(job.model), "time": opened.time}
    kept = parts.prepare(job.out, wanted, about)
    left = [one for one in all_parts if one.name not in kept]
    total = sum(one.rows for one in all_parts)
    rows, written = total - sum(one.rows for one in left), 0
    if processes is None:
        each = {Kind.PAIRS: 1, Kind.CANDIDATES: CANDIDATES}.get(kind, opened.catalogue)
        processes = 1 if (total - rows) * each < WORTH_PROCESSES else len(os.sched_getaffinity(0))
    yield Progress(rows, total, len(all_parts), len(kept), written)
    for done, made in _each(job, kind, left, processes, opened):
        rows, written = rows + done.rows, written + made
        yield Progress(rows, total, len(all_parts), len(kept), written)


def _each(job: Job, kind: Kind, left: list[Part], processes: int, opened: Opened) -> Iterator[tuple[Part, int]]:
    """Each part once it is written, and its number of answers."""
    if min(processes, len(left)) <= 1:
        for one in left:
            yield one, write(opened, job, one, kind)
        return
    executor = ProcessPoolExecutor(
        min(processes, len(left)), get_context("spawn"), initializer=_begin, initargs=(job, kind)
    )
    try:
        running = {executor.submit(_write, one): one for one in left}
        for ended in as_completed(running):
            yield running[ended], ended.result()
    except BrokenProcessPool as error:
        raise ShoprankError("a process was ended from outside; run again, what is written is kept") from error
    except BaseException:  # who asks this process to end does not wait until the parts begun are written
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def write(opened: Opened, job: Job, part: Part, kind: Kind) -> int:
    """Write a part's answers and return their number."""
    identity = opened.identity(part, kind)  # before the features are read: those written meanwhile count as newer
    table = opened.answers(read(part, kind), kind)
    parts.write(job.out / part.name, table, identity)
    return int(table.num_rows)


_work: tuple[Job, Kind] | None = None
_opened: Opened | None = None


def _begin(job: Job, kind: Kind) -> None:
    """What a process does first; it ends when its parent does, however that ends."""
    global _work
    _work = (job, kind)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _write(part: Part) -> int:
    global _opened
    if _work is None:
        raise AssertionError("_begin runs first")
    job, kind = _work
    if _opened is None:
        _opened = Opened(job)
    return write(_opened, job, part, kind)
