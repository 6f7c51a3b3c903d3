"""Servers that are measured, and what is scraped of them."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.app import Running, start
from tests.conftest import Shop, settings


@dataclass(frozen=True)
class Measured:
    """A server, and the address of its metrics."""

    running: Running
    metrics: str

    @property
    def address(self) -> str:
        return self.running.address

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return scrape(self.metrics)

    def value(self, name: str, **labels: str) -> float:
        """One sample; 0 where there is none."""
        return self.scrape().get((name, frozenset(labels.items())), 0.0)


def scrape(address: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample, by name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def measured(trained: Shop) -> Iterator[Callable[..., Measured]]:
    """Starts servers of the shop, with metrics on a free port and other settings of telemetry as given."""
    started: list[Running] = []

    def begin(**telemetry: Any) -> Measured:
        group = {"metrics_port": 0, "drift_rows_per_second": 100, **telemetry}
        running = start(settings(trained.paths.root, trained.models, clock="snapshot", telemetry=group))
        started.append(running)
        exposition = running.instruments.exposition
        return Measured(running, exposition.address if exposition else "")

    yield begin
    for running in started:
        running.stop()
