"""What happened to a model since the process began, for metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """loads, refusals: of bundles. swaps: changes of the version that serves. garbled: traffic files not understood.

    shadowed, shadow_dropped, shadow_failed: calls that the shadow scored, had no room for, could not score.
    """

    loads: int = 0
    refusals: int = 0
    swaps: int = 0
    garbled: int = 0
    shadowed: int = 0
    shadow_dropped: int = 0
    shadow_failed: int = 0
