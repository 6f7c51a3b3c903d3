"""Kinds of metrics. Labels have closed sets of values, so that where everything is kept is known at the start."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True)
class Label:
    """A label and every value it can have."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric kept in shared memory: `size` cells for each combination of its labels' values.

    name: as it is exposed. help: what it says, with the unit.
    """

    name: str
    help: str
    labels: tuple[Label, ...] = ()
    type: ClassVar[str] = ""

    @property
    def size(self) -> int:
        """Cells a combination of labels takes."""
        return 1

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels."""
        return tuple(label.name for label in self.labels)

    @property
    def series(self) -> list[tuple[str, ...]]:
        """Every combination of the labels' values, in the order of their cells."""
        return list(product(*(label.values for label in self.labels)))


@dataclass(frozen=True, slots=True)
class Counter(Metric):
    """Only grows; summed over the workers, those that have ended included."""

    type: ClassVar[str] = "counter"


@dataclass(frozen=True, slots=True)
class Gauge(Metric):
    """Goes up and down. merge: the sum over living workers, or the least of those that are not 0, if there is one."""

    merge: Literal["sum", "least"] = "sum"
    type: ClassVar[str] = "gauge"


@dataclass(frozen=True, slots=True)
class Histogram(Metric):
    """Counts in buckets by upper bound, one above the last, and the sum of all values.

    bounds: ascending; a value equal to a bound is below it.
    """

    bounds: tuple[float, ...] = ()
    type: ClassVar[str] = "histogram"

    @property
    def size(self) -> int:
        """A cell a bucket, one for what is above the last, one for the sum."""
        return len(self.bounds) + 2


@dataclass(frozen=True, slots=True)
class Computed:
    """A metric that is made when it is asked for. labels: their names, their values are not known before."""

    name: str
    help: str
    label_names: tuple[str, ...] = ()
    type: Literal["counter", "gauge"] = "gauge"
