"""Where the pipeline keeps its files, below one data directory."""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class DataPaths:
    """Every file and folder the offline jobs write, by name, below `root`.

    redis: URL of the Redis that keeps the online features; where there is none they are kept below `root`, in LMDB.
    """

    root: Path
    redis: str | None = None

    @property
    def events(self) -> Path:
        """Canonical clean events: a folder of Parquet files."""
        return self.root / "events"

    @property
    def rejected(self) -> Path:
        """Rows that cleaning dropped, with their reason: one Parquet file."""
        return self.root / "rejected.parquet"

    @property
    def quality(self) -> Path:
        """Data-quality summary of the last ingest: one JSON file."""
        return self.root / "quality.json"

    @property
    def items(self) -> Path:
        """The item catalogue: one Parquet file."""
        return self.root / "items.parquet"

    @property
    def users(self) -> Path:
        """The users table: one Parquet file."""
        return self.root / "users.parquet"

    @property
    def promotions(self) -> Path:
        """The plan of promotions, without rows where the source has none: one Parquet file."""
        return self.root / "promotions.parquet"

    @property
    def features(self) -> Path:
        """Weekly feature snapshots, `<view>/<cutoff>.parquet`: the Feast sources."""
        return self.root / "features"

    @property
    def schedule(self) -> Path:
        """Cutoffs of each split: one JSON file."""
        return self.root / "schedule.json"

    @property
    def dataset(self) -> Path:
        """Training set, `<split>/part-*.parquet`."""
        return self.root / "dataset"

    @property
    def feast(self) -> Path:
        """Feast's registry and embedded online store."""
        return self.root / "feast"

    @property
    def registry(self) -> Path:
        """Feast's registry: one file of protobuf."""
        return self.feast / "registry.db"

    @property
    def online(self) -> Path:
        """The embedded online store: a folder of LMDB."""
        return self.feast / "online"

    @property
    def ranking(self) -> Path:
        """Candidates and rows of the ranking evaluation, kept from run to run: a folder of NumPy files."""
        return self.root / "ranking"

    @property
    def evaluation(self) -> Path:
        """Evaluation results: JSON, HTML and plots."""
        return self.root / "evaluation"


def pattern(path: Path, names: str = "") -> str:
    """A file, or the files that `names` (such as `*.parquet`) finds below a folder, for a reader of patterns: DuckDB.

    The path itself is none, though it holds `[`, `*` or `?`.
    """
    escaped = glob.escape(str(path))
    return f"{escaped}/{names}" if names else escaped


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp")
    try:
        staged.write_text(text)
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
