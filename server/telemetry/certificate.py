"""When the server's certificate ends."""

from __future__ import annotations

import logging
from pathlib import Path

from cryptography import x509

from server.telemetry.recorder import Recorder

log = logging.getLogger(__name__)


class CertificateExpiry:
    """Tells the recorder when the first certificate of a PEM file ends, again whenever the file was changed."""

    def __init__(self, file: Path, recorder: Recorder) -> None:
        self._file = file
        self._recorder = recorder
        self._seen: tuple[int, int] | None = None

    def look(self) -> None:
        """Read the file if it was changed; one that cannot be read leaves what was told, and a line in the log."""
        seen = self._state()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            expires = x509.load_pem_x509_certificate(self._file.read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as error:
            log.error("%s: when the certificate ends cannot be told: %s", self._file, error)
            return
        self._recorder.certificate(expires.timestamp())

    def _state(self) -> tuple[int, int]:
        """Changes when the file does; (0, 0) where there is none."""
        try:
            stat = self._file.stat()
        except OSError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_ino
