"""The port of the metrics, and what strangers send it."""

from __future__ import annotations

import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from server.app import start
from server.telemetry import exposition
from shoprank import Client
from shoprank.errors import UserError
from tests.conftest import Shop, settings
from tests.integration.telemetry.conftest import Measured, scrape

ITEMS = [f"i{i}" for i in range(40)]
Begin = Callable[..., Measured]


def test_metrics_are_off_unless_a_port_is_given(trained: Shop) -> None:
    running = start(settings(trained.paths.root, trained.models))
    assert running.instruments.exposition is None
    with Client(running.address, timeout=10) as client:
        client.rank("u1", ITEMS)
    running.stop()


def test_a_taken_metrics_port_is_named(measured: Begin, trained: Shop) -> None:
    port = measured().metrics.rpartition(":")[2]
    with pytest.raises(UserError, match=f"127.0.0.1:{port}: cannot serve metrics there"):
        start(settings(trained.paths.root, trained.models, telemetry={"metrics_port": port}))


def test_the_log_says_which_free_port_the_metrics_took(measured: Begin, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    address = measured().metrics
    assert f"metrics are served on http://{address}/metrics" in caplog.messages
    assert not address.endswith(":0")


def test_openmetrics_is_served_to_who_asks_for_it_and_nothing_but_get(measured: Begin) -> None:
    url = f"http://{measured().metrics}/metrics"
    asked = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().decode().endswith("# EOF\n")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(urllib.request.Request(url, b"x", method="POST"), timeout=10)


def test_what_strangers_send_the_metrics_is_told_by_the_log_alone(
    measured: Begin,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(exposition, "REQUEST_SECONDS", 0.1)
    server = measured()
    host, _, port = server.metrics.rpartition(":")
    caplog.set_level(logging.INFO)
    for _ in range(5):
        with socket.create_connection((host, int(port)), timeout=5) as silent:
            assert silent.recv(1) == b""
    assert not [r for r in caplog.records if r.name == exposition.__name__]
    odd = urllib.request.Request(
        f"http://{server.metrics}/metrics", headers={"Accept": "application/openmetrics-text;version=a"}
    )
    with pytest.raises(urllib.error.HTTPError, match="500"):
        urllib.request.urlopen(odd, timeout=10)
    assert "Traceback" not in capfd.readouterr().err
    told = [r for r in caplog.records if r.name == exposition.__name__]
    assert len(told) == 1
    assert "Traceback" in told[0].getMessage()
    assert server.scrape()


def test_a_scraper_that_does_not_finish_its_request_is_cut_off(
    measured: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "REQUEST_SECONDS", 0.2)
    server = measured()
    host, _, port = server.metrics.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        assert slow.recv(1) == b""
    assert server.scrape()


def test_nothing_is_served_once_the_server_has_stopped(measured: Begin) -> None:
    server = measured()
    name = server.running.instruments.exposition
    assert name is not None
    server.running.stop()
    assert not Path(name.block.name).exists()
    with pytest.raises(urllib.error.URLError):
        scrape(server.metrics)
