"""What kept results of the ranking evaluation depend on, as one hash."""

from __future__ import annotations

import hashlib

from feature_repo import schema
from feature_repo.paths import DataPaths


def key_of_data(paths: DataPaths, *settings: object) -> str:
    """SHA-256 (hex) of the events' quality summary, the feature schema and settings given."""
    parts = [paths.quality.read_text(), schema.schema_hash(), *map(repr, settings)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
