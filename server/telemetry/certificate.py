"""When the server's certificate ends."""

from __future__ import annotations

import logging
from pathlib import Path

from cryptography import x509

from server.security.tls import configuration
from server.telemetry.recorder import Recorder
from shoprank.errors import UserError

log = logging.getLogger(__name__)


class CertificateExpiry:
    """Tells the recorder when the first certificate of a PEM file ends, again whenever it or its key was changed.

    It is that of the certificate which is served: where the two do not fit together, the former stays in force.
    """

    def __init__(self, certificate: Path, key: Path, recorder: Recorder) -> None:
        self._certificate = certificate
        self._key = key
        self._recorder = recorder
        self._seen: tuple[tuple[int, int], ...] | None = None

    def look(self) -> None:
        """Read the files if they were changed; where they cannot be served, what was told stays; the log has why."""
        seen = _state(self._certificate), _state(self._key)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            configuration(self._certificate, self._key, None)
            expires = x509.load_pem_x509_certificate(self._certificate.read_bytes()).not_valid_after_utc
        except (OSError, UserError, ValueError) as error:
            log.error("%s: cannot be served, the former certificate stays in force: %s", self._certificate, error)
            return
        self._recorder.certificate(expires.timestamp())


def _state(file: Path) -> tuple[int, int]:
    """Changes when the file does; (0, 0) where there is none."""
    try:
        stat = file.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_ino
