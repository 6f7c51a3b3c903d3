"""What a generator measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

LATE_MS = 5.0
LATE_SHARE = 0.01
"""An open loop whose generator sends more than this share of calls so many milliseconds late is not valid."""

ACHIEVED = 0.95
"""A server that answers less than this share of the scheduled rate does not sustain it."""

SPECTRUM = (*(1 - 10 ** (-k / 10) for k in range(41)),)
"""Quantiles for plots: 0, 0.206, …, 0.9, 0.99, 0.999, 0.9999, ten a decade of what is above them."""


@dataclass(slots=True)
class Outcome:
    """Measured calls.

    seconds: from the first call to the last answer. latency: milliseconds of each answered call, float64 (n,), from
    the moment it was due (open loop) or sent (closed loop). late: milliseconds after that moment that each call was
    sent, float64 (m,); empty for a closed loop. rate: calls a second that were scheduled, 0 for a closed loop. checked,
    wrong: replies compared with the right ones, and those that differ. errors: failed calls by gRPC code.
    cpu_seconds: what the generator spent itself.
    """

    seconds: float
    latency: F64
    late: F64 = field(default_factory=lambda: np.zeros(0))
    rate: float = 0.0
    checked: int = 0
    wrong: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0

    @classmethod
    def together(cls, outcomes: Sequence[Outcome]) -> Outcome:
        """Outcomes of generators that ran side by side."""
        return cls(
            seconds=max(o.seconds for o in outcomes),
            latency=np.concatenate([o.latency for o in outcomes]),
            late=np.concatenate([o.late for o in outcomes]),
            rate=sum(o.rate for o in outcomes),
            checked=sum(o.checked for o in outcomes),
            wrong=sum(o.wrong for o in outcomes),
            errors=sum((o.errors for o in outcomes), Counter()),
            cpu_seconds=sum(o.cpu_seconds for o in outcomes),
        )

    @classmethod
    def rounds(cls, outcomes: Sequence[Outcome]) -> Outcome:
        """Outcomes of the same measurement made one after another."""
        whole = cls.together(outcomes)
        whole.seconds = sum(o.seconds for o in outcomes)
        whole.rate = float(np.mean([o.rate for o in outcomes]))
        return whole

    @property
    def achieved(self) -> float:
        """Answers a second."""
        return len(self.latency) / self.seconds if self.seconds else 0.0

    def faults(self) -> list[str]:
        """Why the figures must not be used; empty where they may."""
        found = []
        if not len(self.latency):
            found.append("no call was answered")
        late = float((self.late > LATE_MS).mean()) if len(self.late) else 0.0
        if late > LATE_SHARE:
            found.append(f"the generator could not keep up: {late:.1%} of the calls were sent over {LATE_MS} ms late")
        if self.wrong:
            found.append(f"{self.wrong} of {self.checked} checked replies are wrong")
        if self.errors:
            found.append(f"failed calls: {dict(self.errors)}")
        return found

    def summary(self) -> dict[str, Any]:
        """The figures, for JSON."""
        faults = self.faults()
        result: dict[str, Any] = {"valid": not faults}
        if faults:
            result["invalid_because"] = faults
        result |= {"answered": len(self.latency), "checked": self.checked, "requests_per_second": self.achieved}
        if self.rate:
            result |= {"scheduled_per_second": self.rate, "sustained": self.achieved >= ACHIEVED * self.rate}
            result["sent_late_p99_ms"] = float(np.quantile(self.late, 0.99)) if len(self.late) else None
        if len(self.latency):
            result |= percentiles(self.latency)
            result["generator_cpu_us_per_call"] = self.cpu_seconds / len(self.latency) * 1e6
        return result

    def spectrum(self) -> list[list[float]]:
        """Pairs of quantile and milliseconds, for a plot; no quantile that rests on fewer than ten calls."""
        shown = [q for q in SPECTRUM if (1 - q) * len(self.latency) >= 10]
        return [[q, float(ms)] for q, ms in zip(shown, np.quantile(self.latency, shown), strict=True)] if shown else []


def percentiles(latency: F64) -> dict[str, float]:
    """Quantiles of milliseconds (n,), taken from all of them; p999 only where ten calls lie above it."""
    names = {"median_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
    if len(latency) >= 10_000:
        names["p999_ms"] = 0.999
    return {name: float(np.quantile(latency, q)) for name, q in names.items()} | {"max_ms": float(latency.max())}
