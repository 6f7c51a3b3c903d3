"""Follows what the ranker answers and what the models do, and tells the recorder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from server.models.counts import Counts
from server.telemetry import registry
from server.telemetry.metric import Counter
from server.telemetry.recorder import Recorder
from server.telemetry.registry import Role

if TYPE_CHECKING:
    from server.models.model import F32, Model
    from server.models.registry import Models
    from server.ranker import Status
    from server.towers import Asked

COUNTED: dict[str, tuple[Counter, tuple[str, ...]]] = {
    "loads": (registry.LOADS, ()),
    "refusals": (registry.REFUSALS, ()),
    "swaps": (registry.SWAPS, ()),
    "garbled": (registry.GARBLED, ()),
    "shadowed": (registry.SHADOW_RUNS, ("scored",)),
    "shadow_dropped": (registry.SHADOW_RUNS, ("dropped",)),
    "shadow_failed": (registry.SHADOW_RUNS, ("failed",)),
}
"""The metric of each of a model's counts."""


class Following:
    """Tells the recorder of answers at once, and of the models when it looks.

    models: the versions of the served model. also: told of answers too.
    """

    def __init__(self, recorder: Recorder, models: Models, also: Callable[[str, Asked, F32, Model], None]) -> None:
        self._recorder = recorder
        self._models = models
        self._also = also
        self._seen = asdict(Counts())
        self._roles: dict[Role, int] = {}

    def answered(self, user_id: str, asked: Asked, logits: F32, model: Model, status: Status) -> None:
        """The model has answered a query of n items with log-odds, float32 (n,), from features of that status."""
        self._also(user_id, asked, logits, model)
        role: Role = "canary" if model is self._models.canary else "champion"
        self._recorder.answered(status, asked, logits, model.manifest.version, role)

    def look(self) -> None:
        """Tell which versions serve and are in memory, and what happened since the last look."""
        models, shadow = self._models, self._models.shadow
        roles: dict[Role, Model | None] = {
            "champion": models.active,
            "canary": models.canary,
            "shadow": shadow.model if shadow else None,
        }
        for role, model in roles.items():
            version = model.manifest.version if model else 0
            if self._roles.get(role) != version:
                self._roles[role] = version
                self._recorder.serving(role, model.manifest if model else None)
        self._recorder.loaded(models.versions.numbers())
        counts = asdict(models.counts)
        for name, (counter, labels) in COUNTED.items():
            self._recorder.counted(counter, counts[name] - self._seen[name], *labels)
        self._seen = counts
