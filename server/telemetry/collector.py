"""Sums the slots of all workers when somebody asks, and makes metrics of them for Prometheus."""

from __future__ import annotations

import platform
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version as library_version

import numpy as np
import numpy.typing as npt
from prometheus_client import Metric as Exposed
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector as Protocol
from prometheus_client.utils import floatToGoString

from server.telemetry import processes, registry
from server.telemetry.block import Block
from server.telemetry.layout import LAYOUT
from server.telemetry.metric import Computed, Counter, Gauge, Histogram, Metric
from server.telemetry.references import References
from server.telemetry.slot import PID, STARTED, STARTS
from server.telemetry.window import PARTS, unpacked

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Slots:
    """The slots at one moment: heads (n, 8), cells (n, width), and which of them have a living process, bool (n,)."""

    heads: F64
    cells: F64
    living: npt.NDArray[np.bool_]

    @classmethod
    def read(cls, block: Block) -> _Slots:
        heads = block.heads()
        living = [bool(head[PID]) and processes.lives(int(head[PID]), head[STARTED]) for head in heads]
        return cls(heads, block.cells(), np.array(living, np.bool_))

    def of(self, metric: Metric) -> F64:
        """Cells of a metric, (n, series, size)."""
        first, series = LAYOUT.first(metric), len(metric.series)
        return self.cells[:, first : first + series * metric.size].reshape(len(self.cells), series, metric.size)


class Collector(Protocol):
    """Every metric of the registry, of a block's workers.

    model: the name of the model. references: of its versions. window_seconds, min_rows: of the measurement of drift.
    """

    def __init__(self, block: Block, model: str, references: References, window_seconds: float, min_rows: int) -> None:
        self._block = block
        self._model = model
        self._references = references
        self._stretch = window_seconds / PARTS
        self._min_rows = min_rows

    def describe(self) -> Iterable[Exposed]:
        """Nothing: registering reads no slot."""
        return ()

    def collect(self) -> Iterator[Exposed]:
        """The metrics as they are now."""
        slots = _Slots.read(self._block)
        for metric in registry.STORED:
            yield _stored(metric, slots)
        yield from self._models(slots)
        yield from _workers(slots)
        yield _family(registry.BUILD, [(_versions(), 1.0)])
        yield from self._drift(slots)

    def _models(self, slots: _Slots) -> Iterator[Exposed]:
        served: Tally[tuple[str, ...]] = Tally()
        for (role,), versions in zip(registry.VERSION.series, slots.of(registry.VERSION)[:, :, 0].T, strict=True):
            served.update((self._model, str(int(v)), role) for v in versions[slots.living] if v)
        yield _family(registry.MODEL_INFO, [(labels, count) for labels, count in sorted(served.items())])
        loaded: Tally[tuple[str, ...]] = Tally()
        for versions in slots.of(registry.LOADED)[slots.living, :, 0]:
            loaded.update({(self._model, str(int(v))) for v in versions if v})
        yield _family(registry.MODEL_LOADED, [(labels, count) for labels, count in sorted(loaded.items())])

    def _drift(self, slots: _Slots) -> Iterator[Exposed]:
        champion = registry.VERSION.series.index(("champion",))
        versions = Tally(slots.of(registry.VERSION)[slots.living, champion, 0].tolist())
        versions.pop(0.0, None)
        rows, score = 0, None
        features: dict[str, float] = {}
        if versions:
            version = int(versions.most_common(1)[0][0])
            if reference := self._references.of(version):
                stretch = int(time.time() / self._stretch)
                counts = unpacked(np.sum([w.total(stretch, version) for w in self._block.windows()], axis=0))
                rows = int(counts.score.sum())
                if rows >= self._min_rows:
                    features, score = reference.drift(counts)
        yield _family(registry.DRIFT_WINDOW, [((), rows)])
        yield _family(registry.FEATURE_PSI, [((name,), value) for name, value in features.items()])
        yield _family(registry.SCORE_PSI, [] if score is None else [((), score)])


def _stored(metric: Metric, slots: _Slots) -> Exposed:
    values = slots.of(metric)
    if isinstance(metric, Histogram):
        return _histogram(metric, values.sum(axis=0))
    if isinstance(metric, Counter):
        return _family(metric, list(zip(metric.series, values[:, :, 0].sum(axis=0).tolist(), strict=True)))
    assert isinstance(metric, Gauge)
    living = values[slots.living, :, 0]
    if metric.merge == "sum":
        return _family(metric, list(zip(metric.series, living.sum(axis=0).tolist(), strict=True)))
    there = [(labels, column[column != 0]) for labels, column in zip(metric.series, living.T, strict=True)]
    return _family(metric, [(labels, float(column.min())) for labels, column in there if len(column)])


def _histogram(metric: Histogram, values: F64) -> Exposed:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.label_names)
    bounds = [*map(floatToGoString, metric.bounds), "+Inf"]
    for labels, cells in zip(metric.series, values, strict=True):
        buckets = list(zip(bounds, np.cumsum(cells[:-1]).tolist(), strict=True))
        family.add_metric(labels, buckets, sum_value=float(cells[-1]))
    return family


def _family(metric: Metric | Computed, samples: Iterable[tuple[tuple[str, ...], float]]) -> Exposed:
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = kind(metric.name.removesuffix("_total"), metric.help, labels=metric.label_names)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _workers(slots: _Slots) -> Iterator[Exposed]:
    taken = [(str(i), i) for i, head in enumerate(slots.heads) if head[STARTS]]
    ready = slots.of(registry.READY)[:, 0, 0]
    living = [(name, i) for name, i in taken if slots.living[i]]
    there = [(name, i) for name, i in taken if slots.heads[i, PID]]
    yield _family(registry.WORKER_UP, [((name,), float(slots.living[i])) for name, i in there])
    yield _family(registry.WORKER_READY, [((name,), ready[i]) for name, i in living])
    yield _family(registry.WORKER_STARTS, [((name,), slots.heads[i, STARTS]) for name, i in taken])
    used = [(name, usage) for name, i in living if (usage := processes.usage(int(slots.heads[i, PID])))]
    yield _family(registry.WORKER_MEMORY, [((name,), usage.memory) for name, usage in used])
    yield _family(registry.WORKER_CPU, [((name,), usage.cpu) for name, usage in used])


def _versions() -> tuple[str, ...]:
    ours, grpcio, onnxruntime = map(library_version, ("shoprank", "grpcio", "onnxruntime"))
    return ours, platform.python_version(), grpcio, onnxruntime
