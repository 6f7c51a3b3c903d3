"""One measurement that a generator is asked for."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from benchmarks.load.arrivals import Arrivals
from benchmarks.load.outcome import Outcome

Client = Literal["grpcio", "plain"]
METHOD = "/shoprank.v1.RankingService/RankItems"


@dataclass(frozen=True, slots=True)
class Job:
    """What to send where.

    traffic: folder that `Traffic.write` filled. rate: calls a second of an open loop; None makes it a closed loop of
    `clients`. client: of an open loop; `grpcio`, as a service in Python has it, or `plain`, which costs the generator
    little: see `http2`. check_every: every how manieth reply is held against the right one. timeout: seconds a call may
    take.
    """

    address: str
    traffic: str
    seconds: float
    rate: float | None = None
    clients: int = 1
    client: Client = "grpcio"
    arrivals: Arrivals = "poisson"
    seed: int = 0
    check_every: int = 10
    timeout: float = 10.0
    method: str = METHOD

    def to_line(self) -> str:
        """The job as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Job:
        """What `to_line` wrote."""
        return cls(**json.loads(line))


def outcome_to_line(outcome: Outcome) -> str:
    """An outcome as one line of JSON."""
    values: dict[str, Any] = {f.name: getattr(outcome, f.name) for f in fields(Outcome)}
    values |= {name: np.round(values[name], 4).tolist() for name in ("latency", "late")}
    return json.dumps(values)


def outcome_from_line(line: str) -> Outcome:
    """What `outcome_to_line` wrote."""
    values = json.loads(line)
    values |= {name: np.array(values[name], np.float64) for name in ("latency", "late")}
    values["errors"] = Counter(values["errors"])
    return Outcome(**values)
