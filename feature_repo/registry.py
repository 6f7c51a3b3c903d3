"""Feast's registry in a file that is written whole or not at all."""

from __future__ import annotations

import os
import uuid

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.utils import _utc_now


class WholeFileRegistryStore(FileRegistryStore):  # type: ignore[misc]  # Feast's classes are untyped to mypy
    """As Feast's own, which writes over the file: whatever kept it from ending that would take the registry away."""

    def _write_registry(self, registry_proto: Registry) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(_utc_now())
        self._filepath.parent.mkdir(exist_ok=True)
        staged = self._filepath.with_name(f".{self._filepath.name}.{os.getpid()}")
        try:
            with staged.open("wb") as file:
                file.write(registry_proto.SerializeToString())
                file.flush()
                os.fsync(file.fileno())
            staged.replace(self._filepath)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._filepath)) from error
        finally:
            staged.unlink(missing_ok=True)
