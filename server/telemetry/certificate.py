"""When the server's certificate ends."""

from __future__ import annotations

from server.security.reloaded import Reloaded
from server.security.tls import Served
from server.telemetry.recorder import Recorder


def tell_expiry(served: Reloaded[Served], recorder: Recorder) -> None:
    """Look at the files and tell when the certificate ends that is served: of files that went bad, the former one."""
    recorder.certificate(served.refreshed().expires.timestamp())
