"""The feature snapshots there are: where each lies, and whether it is of the events as they were ingested last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from feature_repo import schema
from feature_repo.paths import DataPaths
from shoprank.errors import UserError

VIEWS = ("user_features", "user_history", "item_features")
STAMP = "%Y-%m-%dT%H%M%S"
"""A cutoff (naive UTC) in the name of a file."""
WRITTEN = "written.json"
RUN_FEATURES = "run `shoprank features` first"


def snapshot_path(paths: DataPaths, view: str, cutoff: datetime) -> Path:
    """File of one view's snapshot at a cutoff (naive UTC)."""
    return paths.features / view / f"{cutoff:{STAMP}}.parquet"


def cutoffs_there(paths: DataPaths) -> list[datetime]:
    """The cutoffs (naive UTC) that any view has a snapshot of, ascending. Files of other names are none."""
    found = set()
    for name in {path.stem for view in VIEWS for path in (paths.features / view).glob("*.parquet")}:
        with suppress(ValueError):
            found.add(datetime.strptime(name, STAMP))
    return sorted(found)


def fingerprint(paths: DataPaths) -> str:
    """Of what snapshots are made now, as one hash (hex): the ingested events, the plan of promotions, the schema.

    Raises UserError where nothing was ingested.
    """
    if not paths.quality.is_file():
        raise UserError(f"{paths.quality}: no such file; run `shoprank ingest` first")
    planned = paths.promotions.read_bytes() if paths.promotions.is_file() else b""
    return hashlib.sha256(paths.quality.read_bytes() + planned + schema.schema_hash().encode()).hexdigest()


def read_written(paths: DataPaths) -> dict[str, str]:
    """Fingerprint of what each snapshot there is was made of, by file name below the features.

    Of none where that cannot be read: they are to be made again.
    """
    path = paths.features / WRITTEN
    try:
        return dict(json.loads(path.read_text())) if path.is_file() else {}
    except (ValueError, TypeError):
        return {}


def require_current(paths: DataPaths, cutoffs: Collection[datetime]) -> None:
    """Raise UserError unless every view has a snapshot of each cutoff (naive UTC), made of the events as they are."""
    made_of, written = fingerprint(paths), read_written(paths)
    for cutoff in cutoffs:
        for path in (snapshot_path(paths, view, cutoff) for view in VIEWS):
            if not path.is_file():
                raise UserError(f"{path}: no snapshot of {cutoff}; {RUN_FEATURES}")
            if written.get(str(path.relative_to(paths.features))) != made_of:
                raise UserError(f"{path}: is of other events or features; {RUN_FEATURES}")


def others(paths: DataPaths, cutoffs: Collection[datetime]) -> list[Path]:
    """Snapshots of other cutoffs than these (naive UTC): a point-in-time join takes the newest, whatever it is of."""
    wanted = {snapshot_path(paths, view, cutoff) for view in VIEWS for cutoff in cutoffs}
    return sorted(path for view in VIEWS for path in (paths.features / view).glob("*.parquet") if path not in wanted)
