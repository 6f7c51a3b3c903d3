"""What the sources of a version's candidates were fitted on, as its manifest says. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shoprank.bundle import Manifest

NOTES = "sources"
"""The entry of a manifest's `training` that tells of the sources."""


@dataclass(frozen=True, slots=True)
class CandidateSources:
    """purchases_before: those before it are known, UTC. learned: names of the learned sources among them.
    network_version: the version that the network was trained as; another one where only the sources are new."""

    purchases_before: datetime
    learned: tuple[str, ...]
    network_version: int

    @classmethod
    def of(cls, manifest: Manifest) -> CandidateSources | None:
        """Those of a bundle; None where its manifest does not say, as those of earlier releases and of tables."""
        notes = manifest.training.get(NOTES)
        try:
            before = datetime.fromisoformat(notes["purchases_before"]).replace(tzinfo=UTC)  # type: ignore[index]
            learned, network = tuple(map(str, notes["learned"])), notes.get("network_version", manifest.version)  # type: ignore[index, union-attr]
        except (AttributeError, KeyError, TypeError, ValueError):
            return None
        return cls(before, learned, network) if isinstance(network, int) and 0 < network < 2**31 else None

    def notes(self) -> dict[str, Any]:
        """As a manifest has it; a network_version of 0 is the manifest's own."""
        notes = {"purchases_before": f"{self.purchases_before:%Y-%m-%dT%H:%M:%S}", "learned": list(self.learned)}
        return notes | ({"network_version": self.network_version} if self.network_version else {})

    def __str__(self) -> str:
        learned = "".join(f", {name}" for name in self.learned)
        return f"before {self.purchases_before:%Y-%m-%d}{learned}"
