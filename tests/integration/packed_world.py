"""A tiny Feast repository over the packed online store, whose rows tell which write they are of."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Array, FeastType, Float32, Float64, Int64, String
from feast.value_type import ValueType

from feature_repo.packed import PackedOnlineStore, Rows, packed_store
from feature_repo.packed.arrow import encode_batch
from feature_repo.packed.backend import Written
from feature_repo.packed.engine import load, no_bar, table_of_view
from feature_repo.packed.view import table_of

START = datetime(2024, 1, 1, tzinfo=UTC)
FLOATS = tuple(f"f{i}" for i in range(8))
WIDE: Mapping[str, FeastType] = {
    **dict.fromkeys(FLOATS, Float32),
    "exact": Float64,
    "count": Int64,
    "note": String,
    "trail": Array(Int64),
}
NUMBERS = (*FLOATS, "exact", "count")
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)


@dataclass(frozen=True)
class Place:
    """Where a repository and its online store lie; opens anew in any process."""

    root: Path
    online: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> RepoConfig:
        """Feast's configuration; the LMDB folder is `<root>/online`."""
        return RepoConfig(
            project="faults",
            provider="local",
            repo_path=self.root,
            registry={"path": str(self.root / "registry.db"), "cache_ttl_seconds": 60},
            offline_store={"type": "duckdb"},
            online_store={
                "type": "feature_repo.packed.PackedOnlineStore",
                "path": str(self.root / "online"),
                "map_size_gb": 1.0,
                **self.online,
            },
            batch_engine={"type": "feature_repo.packed.PackedComputeEngine"},
            entity_key_serialization_version=3,
        )

    def view(self, schema: Mapping[str, FeastType] = WIDE, name: str = "users") -> FeatureView:
        """A feature view of the users."""
        return FeatureView(
            name=name,
            entities=[USER],
            schema=[Field(name="user_id", dtype=String), *(Field(name=n, dtype=t) for n, t in schema.items())],
            source=FileSource(name=name, path=str(self.root / f"{name}.parquet"), timestamp_field="event_timestamp"),
            ttl=timedelta(0),
        )


@dataclass(frozen=True)
class World:
    """An open store and one feature view of it."""

    config: RepoConfig
    store: PackedOnlineStore
    view: FeatureView

    @classmethod
    def at(cls, place: Place, view: FeatureView | None = None) -> World:
        """The world of a place, its store of its own: nothing is read from a registry."""
        return cls(place.config(), PackedOnlineStore(), view or place.view())

    def read(self, ids: Sequence[str]) -> Rows:
        """Rows of the users."""
        (rows,) = self.store.read(self.config, [(self.view, ids)])
        return rows

    def load(self, batch: pa.RecordBatch, bar_of: Callable[[int], Any] = no_bar) -> Written:
        """Write a batch through the engine."""
        return load(self.config, self.store, self.view, iter([batch]), bar_of)

    def put(self, batch: pa.RecordBatch) -> Written:
        """Write a batch through the store alone."""
        table = table_of_view(self.view)
        keys, records = encode_batch(table, batch)
        return self.store.write(self.config, self.view, [table.layout], [list(zip(keys, records, strict=True))])

    def version_of(self, ids: Sequence[str]) -> list[int | None]:
        """Which write each user's row is of; None where there is no row that can be read."""
        rows = self.read(ids)
        numbers = rows.matrix(["count"], np.int64)[:, 0].tolist()
        return [n if found else None for n, found in zip(numbers, rows.found.tolist(), strict=True)]

    @property
    def table(self) -> str:
        """Name of the view's table in the backend."""
        return table_of(self.config, self.view)


def applied(place: Place, *views: FeatureView) -> FeatureStore:
    """Feast's own store of the place, with the views applied."""
    place.root.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(config=place.config())
    store.apply([USER, *(views or (place.view(),))])
    assert isinstance(packed_store(store), PackedOnlineStore)
    return store


def users(count: int) -> list[str]:
    """Ids of so many users."""
    return [f"u{i:06}" for i in range(count)]


def rows_of(version: int | npt.NDArray[np.int64], ids: Sequence[str]) -> pa.RecordBatch:
    """A row for each user whose every feature is its `version`, as of that many seconds after START."""
    versions = np.broadcast_to(np.asarray(version, np.int64), len(ids))
    number = pa.array(versions)
    columns: dict[str, pa.Array] = {
        "user_id": pa.array(ids),
        "event_timestamp": pa.array((int(START.timestamp()) + versions) * 1_000_000).cast(pa.timestamp("us", "UTC")),
        **{name: number.cast(pa.float32()) for name in FLOATS},
        "exact": number.cast(pa.float64()),
        "count": number,
        "note": number.cast(pa.string()),
        "trail": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(versions, 3)), 3).cast(pa.list_(pa.int64())),
    }
    return pa.record_batch(columns)


def versions_in(rows: Rows) -> set[int]:
    """Versions among the rows that were found. Raises AssertionError where a row is harmed or of two versions."""
    assert set(rows.status.tolist()) <= {0, 1}, f"statuses {np.unique(rows.status)}"
    found = rows.matrix(NUMBERS, np.float64)[rows.found]
    assert (found == found[:, :1]).all(), "a row of two versions"
    assert (rows.event_time[rows.found] == START.timestamp() * 1e6 + found[:, 0] * 1e6).all()
    return set(found[:, 0].astype(int).tolist())


_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.integration.packed_world"])


@contextmanager
def process(run: Callable[..., None], *arguments: object) -> Iterator[tuple[ForkServerProcess, Connection]]:
    """A process of its own that runs `run(*arguments, connection)`, and this side of the connection.

    It is forked from a server that has imported this module and nothing else has happened in, so it starts in
    milliseconds and shares no store with the test. It is killed where it has not ended.
    """
    here, there = _processes.Pipe()
    child = _processes.Process(target=run, args=(*arguments, there), daemon=False)
    child.start()
    there.close()
    try:
        yield child, here
    finally:
        child.kill()
        child.join()
        here.close()


def ended(child: ForkServerProcess, seconds: float = 30) -> bool:
    """Whether the process ends well in that time."""
    child.join(seconds)
    return child.exitcode == 0


class Bar:
    """A progress bar, as the engine drives it, that tells the other end of a connection: `start` when everything is
    encoded and writing begins, and a number of rows for each chunk that was handed to the backend."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._writing = False

    def reset(self, total: int) -> None:
        """The rows are encoded; they are written from here."""
        self._writing = True
        self._connection.send("start")

    def update(self, rows: int) -> None:
        """Rows were encoded, or handed on."""
        if self._writing:
            self._connection.send(rows)

    def close(self) -> None:
        """All is written."""


def write_version(place: Place, version: int, ids: Sequence[str], connection: Connection) -> None:
    """Write one version of the users' rows through the engine and tell how it goes; at last `done`."""
    World.at(place).load(rows_of(version, ids), lambda _: Bar(connection))
    connection.send("done")


@dataclass
class Watched:
    """What a reader saw: reads, the versions in the order they came up, and what was wrong."""

    reads: int = 0
    versions: list[int] = field(default_factory=list)
    mixed: int = 0
    """Reads with rows of more than one version."""
    faults: list[str] = field(default_factory=list)


def watch(place: Place, ids: Sequence[str], connection: Connection) -> None:
    """Read all the users over and over until told to stop, then send what was seen."""
    world, seen = World.at(place), Watched()
    connection.send("reading")
    while not connection.poll():
        try:
            rows = world.read(ids)
            versions = versions_in(rows)
            trails = rows.arrays("trail", np.int64)[::97]
            assert all(trail is not None and len(set(trail.tolist())) == 1 for trail in trails), "a torn list"
            assert rows.found.all(), f"{int((~rows.found).sum())} rows are gone"
        except Exception as error:  # whatever it is, it is a fault to be told
            seen.faults.append(f"{type(error).__name__}: {error}")
            continue
        seen.reads += 1
        seen.mixed += len(versions) > 1
        if (newest := max(versions)) not in seen.versions:
            seen.versions.append(newest)
    connection.send(seen)


def all_messages(connection: Connection) -> Iterable[object]:
    """What the other side sent until it ended."""
    while True:
        try:
            yield connection.recv()
        except (EOFError, OSError):
            return
