"""What a place that keeps packed records must do; two do it: LMDB and Redis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from feature_repo.packed.layout import Layout
from feature_repo.packed.record import times

Rows = Sequence[tuple[bytes, bytes]]
"""Keys and records."""


@dataclass(slots=True)
class Written:
    """What became of rows that were to be written."""

    rows: int = 0
    older: int = 0
    """Left out because a newer row is there."""
    same: int = 0
    """Left out because they are there already."""
    keys: list[bytes] | None = field(default_factory=list)
    """Of the rows that were written; None where they are too many to remember."""

    def add(self, other: Written) -> None:
        """Count the other's rows as well."""
        self.rows += other.rows
        self.older += other.older
        self.same += other.same
        if self.keys is not None and other.keys is not None and len(self.keys) + len(other.keys) <= KEPT_KEYS:
            self.keys += other.keys
        else:
            self.keys = None


class Backend(Protocol):
    """Keeps records by table and key. A table is a feature view of a project: `<project>/<view>`.

    Every method raises FeatureStoreError where the store cannot be reached or read.
    """

    def get(self, requests: Sequence[tuple[str, Sequence[bytes]]]) -> list[list[bytes | None]]:
        """Records of the keys of each table, None where there is none."""
        ...

    def put(self, table: str, layouts: Iterable[Layout], chunks: Iterable[Rows]) -> Written:
        """Write rows, each whole or not at all, and never over a row of a later event time (or of the same event time
        and created later). The layouts are written before them."""
        ...

    def layout(self, table: str, fingerprint: int) -> Layout | None:
        """The layout of that fingerprint, in which rows of the table were written."""
        ...

    def version(self, table: str) -> int:
        """A number that grows with every write to the table, and is another where the store is; 0 before the first."""
        ...

    def get_at(
        self, requests: Sequence[tuple[str, Sequence[bytes]]], table: str
    ) -> tuple[list[list[bytes | None]], int]:
        """As `get`, and the version of a table, in one round trip."""
        ...

    def changed(self, table: str, since: int) -> tuple[int, list[bytes] | None]:
        """The table's version, and the keys that were written after version `since`; None where that is not known, and
        any row may have changed. Whoever keeps rows it has read asks this to learn which of them to read again."""
        ...

    def clear(self, table: str) -> None:
        """Remove all rows of the table."""
        ...

    def check(self, tables: Sequence[str]) -> None:
        """Look whether what is open of the tables is what lies there now, and open it anew where it is not. Raises
        FeatureStoreError where it was removed and nothing is in its place."""
        ...

    def close(self) -> None:
        """Release what the backend holds. It opens again when it is used."""
        ...


KEPT_WRITES = 1_024
"""Writes of which a table remembers the keys."""
KEPT_KEYS = 10_000
"""Keys that a write may have for the table to remember them; after a larger one any row may have changed."""


def remembered(rows: Rows) -> list[bytes] | None:
    """Keys of the rows of a write; None where they are too many to remember."""
    return [key for key, _ in rows] if len(rows) <= KEPT_KEYS else None


def journal_entry(keys: Iterable[bytes]) -> bytes:
    """The keys of a write as one text, each behind its length in two bytes."""
    return b"".join(len(key).to_bytes(2, "little") + key for key in keys)


def journal_keys(entry: bytes) -> Iterator[bytes]:
    """The keys of a `journal_entry`."""
    at = 0
    while at < len(entry):
        size = int.from_bytes(entry[at : at + 2], "little")
        yield entry[at + 2 : at + 2 + size]
        at += 2 + size


def newest(rows: Rows) -> list[tuple[bytes, bytes]]:
    """Rows in the order of their keys; of rows with one key the newest, and of equally new ones the last."""
    ordered = sorted(rows, key=lambda row: row[0])
    out: list[tuple[bytes, bytes]] = []
    for row in ordered:
        if out and out[-1][0] == row[0]:
            if times(row[1]) >= times(out[-1][1]):
                out[-1] = row
        else:
            out.append(row)
    return out
