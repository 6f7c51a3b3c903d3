"""Reading the same views over and over: names, kinds and layouts are looked up once, not at every read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from feast import FeatureStore, FeatureView

from feature_repo.packed.keys import keys_of
from feature_repo.packed.layout import Layout
from feature_repo.packed.rows import Rows
from feature_repo.packed.store import PackedOnlineStore, packed_store
from feature_repo.packed.view import key_kinds, table_of

Records = list[bytes | None]


@dataclass(frozen=True, slots=True)
class Table:
    """A view as the store keeps it. number: its place among the reader's."""

    number: int
    view: FeatureView
    name: str
    kinds: tuple[str, ...]


class Reader:
    """Reads chosen views of a packed online store. Every method raises FeatureStoreError where it does not answer."""

    def __init__(self, store: FeatureStore, views: Sequence[str]) -> None:
        self._online: PackedOnlineStore = packed_store(store)
        self._config = store.config
        found = [store.get_feature_view(name) for name in views]
        self.tables = tuple(
            Table(i, view, table_of(store.config, view), tuple(key_kinds(view))) for i, view in enumerate(found)
        )
        self._backend = self._online.backend(store.config)
        self._layouts = [self._online.layouts(store.config, view) for view in found]

    def records_at(self, requests: Sequence[tuple[Table, Sequence[Any]]], watched: Table) -> tuple[list[Records], int]:
        """Records of the ids of each view as they are kept, and the version of the watched view, in one round trip.

        The version is that from before the records: what is written meanwhile is found by `changed`.
        """
        asked = [(table.name, keys_of(table.kinds, ids)) for table, ids in requests]
        return self._backend.get_at(asked, watched.name)

    def rows(self, table: Table, records: Records) -> Rows:
        """Records of the view as rows of arrays."""
        rows = Rows(records, self._layouts[table.number])
        self._online.counts.add(rows.status)
        return rows

    def read(self, table: Table, ids: Sequence[Any]) -> Rows:
        """Rows of the ids."""
        return self.rows(table, self._backend.get([(table.name, keys_of(table.kinds, ids))])[0])

    def layout(self, table: Table, fingerprint: int) -> Layout | None:
        """The layout that records of the view name so; None where the store does not know it."""
        return self._layouts[table.number](fingerprint)

    def version(self, table: Table) -> int:
        """A number that grows with every write to the view."""
        return self._backend.version(table.name)

    def check(self) -> None:
        """Look whether what is read is what lies there now, and read that from now on; see `Backend.check`."""
        self._backend.check([table.name for table in self.tables])

    def changed(self, table: Table, since: int) -> tuple[int, list[bytes] | None]:
        """The view's version, and the keys written after version `since`; None where any row may have changed."""
        return self._backend.changed(table.name, since)
