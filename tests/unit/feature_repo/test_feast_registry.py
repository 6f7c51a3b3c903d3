"""Feast's registry is written whole or not at all."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.repo_config import RegistryConfig

from feature_repo.registry import WholeFileRegistryStore


def test_a_registry_that_cannot_be_written_leaves_the_one_there_was(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    store = WholeFileRegistryStore(RegistryConfig(path=str(path)), tmp_path)
    store.update_registry_proto(Registry(registry_schema_version="1"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as failed:
            store.update_registry_proto(Registry(registry_schema_version="2"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert failed.value.filename == str(path)
    assert store.get_registry_proto().registry_schema_version == "1"
    assert list(tmp_path.iterdir()) == [path]
