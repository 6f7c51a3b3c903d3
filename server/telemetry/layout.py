"""Where each metric is kept among a worker's cells."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from server.telemetry.metric import Metric
from server.telemetry.registry import PRIVATE, STORED


class Layout:
    """Places of metrics, one behind the other. width: cells in all. fingerprint: 32 bytes, equal for equal layouts."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = tuple(metrics)
        self._first: dict[str, int] = {}
        self.width = 0
        for metric in self.metrics:
            self._first[metric.name] = self.width
            self.width += len(metric.series) * metric.size
        self.fingerprint = hashlib.sha256(repr(self.metrics).encode()).digest()

    def first(self, metric: Metric) -> int:
        """Place of the metric's first cell."""
        return self._first[metric.name]

    def place(self, metric: Metric, *values: str) -> int:
        """Place of the first cell of one combination of the labels' values."""
        return self._first[metric.name] + metric.series.index(values) * metric.size

    def places(self, metric: Metric) -> dict[str, int]:
        """Of a metric with one label: the place of each of its values."""
        return {value: self.place(metric, value) for (value,) in metric.series}


LAYOUT = Layout((*STORED, *PRIVATE))
