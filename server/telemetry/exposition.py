"""Serves the metrics over HTTP, in Prometheus's text format or OpenMetrics, as the scraper asks."""

from __future__ import annotations

import io
import logging
import sys
import threading
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from server.process.port import authority
from server.settings import Settings
from server.telemetry.block import Block
from server.telemetry.collector import Collector
from server.telemetry.references import References
from shoprank import bundle
from shoprank.errors import UserError

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""Time a scraper has to send its request, and to take each part of the answer: each has a thread meanwhile."""


def _failed(request: Any, client_address: Any) -> None:
    """Tell of what ended a connection, unless it is who called: that one sent nothing, or has gone."""
    if not isinstance(sys.exception(), OSError):
        log.exception("metrics: a connection failed")


class _Log(io.TextIOBase):
    """Where the HTTP server writes what went wrong with a request, and then flushes: the log, as one record."""

    def __init__(self) -> None:
        self._written = ""

    def write(self, text: str) -> int:
        self._written += text
        return len(text)

    def flush(self) -> None:
        if self._written:
            log.error("metrics: a request failed: %s", self._written.strip())
        self._written = ""


@dataclass(slots=True)
class Exposition:
    """A block for workers, and the HTTP server that tells of it. address: host:port."""

    block: Block
    address: str
    _server: WSGIServer
    _thread: threading.Thread

    @classmethod
    def start(cls, settings: Settings, slots: int) -> Exposition | None:
        """A new block of so many slots and its server; None where metrics are off.

        Raises UserError where the address cannot be had.
        """
        telemetry = settings.telemetry
        if telemetry.metrics_port is None:
            return None
        block = Block.create(slots)
        directory = bundle.model_directory(settings.model_repository, settings.model)
        collector = Collector(
            block, settings.model, References(directory), telemetry.drift_window_seconds, telemetry.drift_min_rows
        )
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        ProcessCollector(registry=registry)
        try:
            server, thread = start_http_server(telemetry.metrics_port, telemetry.metrics_host.strip("[]"), registry)
        except OSError as error:
            block.close()
            where = authority(telemetry.metrics_host, telemetry.metrics_port)
            raise UserError(f"{where}: cannot serve metrics there: {error.strerror}") from error
        handler: Any = server.RequestHandlerClass
        how = {"timeout": REQUEST_SECONDS, "get_stderr": lambda self: _Log()}
        server.RequestHandlerClass = type(handler.__name__, (handler,), how)
        server.handle_error = _failed  # type: ignore[method-assign]  # its own prints a traceback for who sends nothing
        address = authority(telemetry.metrics_host, server.server_port)
        log.info("metrics are served on http://%s/metrics", address)
        return cls(block, address, server, thread)

    def stop(self) -> None:
        """Serve no more, and remove the block."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.block.close()
