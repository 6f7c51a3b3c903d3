"""References of a model's versions, from their bundles."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from feature_repo import schema
from feature_repo.reference import Reference
from shoprank import bundle
from shoprank.errors import BundleError

log = logging.getLogger(__name__)

KEPT = 4


class References:
    """Reads each version's reference once. directory: the model's, `model_repository/<model>`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._known: dict[int, Reference | None] = {}

    def of(self, version: int) -> Reference | None:
        """The version's reference; None, and a line in the log the first time, where it has none that can be used."""
        with self._lock:
            if version not in self._known:
                if len(self._known) >= KEPT:
                    self._known.pop(next(iter(self._known)))
                self._known[version] = self._read(version)
            return self._known[version]

    def _read(self, version: int) -> Reference | None:
        directory = self._directory / str(version)
        try:
            manifest = bundle.Manifest.read(directory)
            if bundle.REFERENCE not in manifest.files:
                log.info("%s has no %s: drift is not measured; train again to have it", directory, bundle.REFERENCE)
                return None
            path = directory / bundle.REFERENCE
            if not path.is_file() or bundle.sha256(path) != manifest.files[bundle.REFERENCE]:
                raise BundleError(f"{path}: missing or altered")
            reference = Reference.read(path)
            if reference.names != (*schema.NUMERIC, *schema.CATEGORICAL):
                raise BundleError(f"{path}: of other features than this server's")
        except BundleError as error:
            log.error("drift is not measured: %s", error)
            return None
        return reference
