"""Feast's online store over packed records: the class that `feature_store.yaml` names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from feast import Entity, FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import _get_entity_key_protos, _get_unique_entities
from pydantic import Field, StrictStr

from feature_repo.packed.backend import Backend, Written
from feature_repo.packed.backend import Rows as Records
from feature_repo.packed.counts import Counts
from feature_repo.packed.keys import entity_key, keys_of
from feature_repo.packed.layout import NO_TIME, Layout, kind_of
from feature_repo.packed.lmdb_backend import GIB, LmdbBackend
from feature_repo.packed.record import Decoder, Row, encode, fitting, is_whole, times
from feature_repo.packed.redis_backend import RedisBackend
from feature_repo.packed.response import Read, add_version, fill
from feature_repo.packed.rows import Rows, Status
from feature_repo.packed.view import key_kinds, layout_of, micros, moment, table_of
from shoprank.errors import FeatureStoreError

T = TypeVar("T")
ReadRow = tuple[datetime | None, dict[str, Value] | None]
WriteRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]


class PackedOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """`online_store` of `feature_store.yaml`."""

    type: StrictStr = "feature_repo.packed.PackedOnlineStore"
    """Class path of the store."""

    backend: Literal["lmdb", "redis"] = "lmdb"
    """Where records are kept: in a folder of this machine, or in Redis."""

    path: StrictStr = "data/online"
    """LMDB: the folder, which has one a project and therein one a feature view; relative to the feature repository."""

    map_size_gb: float = Field(64.0, gt=0)
    """LMDB: size in GiB that a feature view may grow to. Address space is reserved for it; disk is used as it fills."""

    durable: bool = True
    """LMDB: whether a write waits for the disk. Without it a crash of the machine may harm the store."""

    connection_string: StrictStr = "redis://127.0.0.1:6379/0"
    """Redis: a URL (`redis://`, `rediss://` for TLS), or Feast's `host:port,password=…,ssl=true`."""

    redis_type: Literal["redis", "redis_cluster"] = "redis"
    """Redis: a single server or a cluster."""

    timeout_seconds: float = Field(1.0, gt=0)
    """Redis: how long an answer may take."""

    key_ttl_seconds: int | None = Field(None, gt=0)
    """Redis: seconds after which a row that was not written again is dropped."""


class Closed:
    """What closing returns: Feast awaits it, others need not."""

    def __await__(self) -> Iterator[None]:
        return iter(())


class PackedOnlineStore(OnlineStore):  # type: ignore[misc]
    """One packed record a row, in LMDB or Redis, for all that Feast asks of an online store, and `read` for arrays.

    A row is written whole: a feature that a write does not name is null afterwards. An older event time never
    overwrites a newer one.
    """

    _versioned_read_supported = True

    def __init__(self) -> None:
        self.counts = Counts()
        self.written = Written()
        """What became of the rows of the last write, which Feast's materialization does not hand over."""
        self._backend: Backend | None = None
        self._layouts: dict[int, Layout] = {}
        self._decoders: dict[tuple[int, tuple[tuple[str, str], ...]], Decoder] = {}

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Both reading and writing."""
        return SupportedAsyncMethods(read=True, write=True)

    def backend(self, config: RepoConfig) -> Backend:
        """The backend that the configuration asks for, opened once. Raises FeatureStoreError where it cannot be."""
        if self._backend is None:
            settings = config.online_store
            assert isinstance(settings, PackedOnlineStoreConfig)
            if settings.backend == "redis":
                self._backend = RedisBackend(
                    settings.connection_string, settings.redis_type, settings.timeout_seconds, settings.key_ttl_seconds
                )
            else:
                path = Path(settings.path)
                if config.repo_path and not path.is_absolute():
                    path = Path(config.repo_path) / path
                self._backend = LmdbBackend(path, int(settings.map_size_gb * GIB), settings.durable)
        return self._backend

    # Feast's contract

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WriteRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows, all of them or none (LMDB), each whole or not at all (Redis)."""
        layout = layout_of(table)
        layouts: dict[int, Layout] = {}
        rows = []
        for key, values, event_time, created in data:
            fit = fitting(layout, values)
            layouts[fit.fingerprint] = fit
            row = Row(values, micros(event_time), NO_TIME if created is None else micros(created))
            rows.append((entity_key(key), encode(fit, row)))
        if rows:
            self.write(config, table, layouts.values(), [rows])
        if progress:
            progress(len(data))

    async def online_write_batch_async(self, *arguments: Any, **named: Any) -> None:
        """As `online_write_batch`, on a thread: a commit waits for the disk or the network."""
        await asyncio.to_thread(self.online_write_batch, *arguments, **named)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Event time and values of each key, (None, None) where there is no row that can be read."""
        asked = (
            [f.name for f in table.features] if requested_features is None else list(dict.fromkeys(requested_features))
        )
        (reads,) = self._read(config, [(table, asked, entity_keys)])
        return [(None, None) if read is None else (moment(read[0]), _values(asked, read[1])) for read in reads]

    def _read(
        self, config: RepoConfig, requests: Sequence[tuple[FeatureView, Sequence[str], Sequence[EntityKey]]]
    ) -> list[list[Read]]:
        """Rows of each view by Feast's keys, all read at once."""
        asked = [(table_of(config, view), [entity_key(key) for key in keys]) for view, _, keys in requests]
        backend = self.backend(config)
        statuses: list[Status] = []
        answers: list[list[Read]] = []
        found = zip(requests, asked, backend.get(asked), strict=True)
        for (view, features, _), (table, _), records in found:
            kinds = {f.name: kind_of(f.dtype) for f in view.features}
            wanted = tuple((name, kinds.get(name, "")) for name in features)
            reads: list[Read] = []
            for record in records:
                status, decoder = self._decoder(backend, table, record, wanted)
                statuses.append(status)
                if decoder is None or record is None:
                    reads.append(None)
                else:
                    reads.append((times(record)[0], decoder.wire(record)))
            answers.append(reads)
        self.counts.add(statuses)
        return answers

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, list[Value]],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """What `get_online_features` asks of a store, all views in one read."""
        asked, places = [], []
        for view, features in grouped_refs:
            entities, rows, count = _get_unique_entities(view, join_key_values, entity_name_to_join_key_map)
            asked.append((view, features, _get_entity_key_protos(entities)))
            places.append((rows, count))
        now = micros(datetime.now(UTC))
        for (view, features, _), reads, (rows, count) in zip(asked, self._read(config, asked), places, strict=True):
            if include_feature_view_version_metadata:
                add_version(online_features_response, view)
            fill(online_features_response, view, features, reads, rows, count, now, full_feature_names)

    async def online_read_async(self, config: RepoConfig, *arguments: Any, **named: Any) -> list[ReadRow]:
        """As `online_read`."""
        return await self._reading(config, self.online_read, *arguments, **named)

    async def _read_features_per_fv_async(self, config: RepoConfig, *arguments: Any) -> None:
        """As `_read_features_per_fv`."""
        await self._reading(config, self._read_features_per_fv, *arguments)

    async def _reading(self, config: RepoConfig, read: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """What `read` gives: at once where it reads this machine's memory, on a thread where it waits for a network."""
        if isinstance(self.backend(config), LmdbBackend):
            return read(config, *arguments, **named)
        return await asyncio.to_thread(read, config, *arguments, **named)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Remove the rows of views that are no more. Rows of views that changed stay readable until rewritten."""
        for table in tables_to_delete:
            self.backend(config).clear(table_of(config, table))

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Remove the rows of all the views and close."""
        for table in tables:
            self.backend(config).clear(table_of(config, table))
        self.close()

    def close(self) -> Closed:
        """Release files or connections at once. The store opens again when it is used."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        return Closed()

    # The bulk way

    def write(
        self, config: RepoConfig, table: FeatureView, layouts: Iterable[Layout], chunks: Iterable[Records]
    ) -> Written:
        """Write packed records, as `encode_batch` makes them, chunk by chunk; see `Backend.put`."""
        self.written = self.backend(config).put(table_of(config, table), layouts, chunks)
        return self.written

    def read(self, config: RepoConfig, requests: Sequence[tuple[FeatureView, Sequence[Any]]]) -> list[Rows]:
        """Rows of the ids of each view, as arrays; on LMDB each view as of one commit, on a Redis all as of one moment.

        An id is the value of the view's join key, or a tuple of its join keys' values in the order of their names.
        Raises FeatureStoreError where the store does not answer, TypeError where an id is of another type.
        """
        backend = self.backend(config)
        asked = [(table_of(config, view), keys_of(key_kinds(view), ids)) for view, ids in requests]
        answers = zip(asked, backend.get(asked), strict=True)
        found = [Rows(records, self._layout_reader(backend, table)) for (table, _), records in answers]
        for rows in found:
            self.counts.add(rows.status)
        return found

    def version(self, config: RepoConfig, table: FeatureView) -> int:
        """A number that grows with every write to the view."""
        return self.backend(config).version(table_of(config, table))

    def clear(self, config: RepoConfig, table: FeatureView) -> None:
        """Remove all rows of the view."""
        self.backend(config).clear(table_of(config, table))

    def layouts(self, config: RepoConfig, table: FeatureView) -> Callable[[int], Layout | None]:
        """What finds the layout of a fingerprint that records of the view name, None where it is not known."""
        return self._layout_reader(self.backend(config), table_of(config, table))

    def _layout_reader(self, backend: Backend, table: str) -> Callable[[int], Layout | None]:
        def find(fingerprint: int) -> Layout | None:
            known = self._layouts.get(fingerprint)
            if known is None and (known := backend.layout(table, fingerprint)) is not None:
                self._layouts[fingerprint] = known
            return known

        return find

    def _decoder(
        self, backend: Backend, table: str, record: bytes | None, wanted: tuple[tuple[str, str], ...]
    ) -> tuple[Status, Decoder | None]:
        if record is None:
            return Status.MISSING, None
        if not is_whole(record):
            return Status.CORRUPT, None
        key = (int.from_bytes(record[4:8], "little"), wanted)
        if (known := self._decoders.get(key)) is None:
            if (layout := self._layout_reader(backend, table)(key[0])) is None:
                return Status.UNREADABLE, None
            known = self._decoders[key] = Decoder(layout, wanted)
        return Status.FOUND, known


def packed_store(store: Any) -> PackedOnlineStore:
    """The packed online store of a Feast `FeatureStore`. Raises FeatureStoreError where it has another."""
    online = store._get_provider().online_store
    if not isinstance(online, PackedOnlineStore):
        raise FeatureStoreError(f"the online store is a {type(online).__name__}, not a PackedOnlineStore")
    return online


def _values(features: Sequence[str], contents: Sequence[bytes | None]) -> dict[str, Value]:
    return {
        name: Value.FromString(content) for name, content in zip(features, contents, strict=True) if content is not None
    }
