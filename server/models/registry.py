"""The versions of one model that a process has loaded, and which of them answers whom.

The state that is wanted lies in the repository, in the links `current` and `previous` and in `traffic.json`; a registry
follows it. What serves is one object that is replaced by one assignment, so a call sees the old or the new, whole.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from server.models.canary import step
from server.models.counts import Counts
from server.models.model import Model
from server.models.processes import OneProcess, Processes, ProcessState
from server.models.shadow import Shadow
from server.models.versions import Versions
from shoprank import bundle, traffic
from shoprank.errors import BundleError, Conflict, NotFound, TrafficError
from shoprank.traffic import Traffic

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """The active version and, where there is one, the canary with its share in hundredths of a percent."""

    active: Model
    canary: Model | None
    steps: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the repository asks for. active, previous: versions, None where there is no such link."""

    active: int | None
    previous: int | None
    traffic: Traffic


class Models:
    """The loaded versions of the model `name`.

    open_bundle: loads a version's directory ready to answer, or raises BundleError. keep: versions that stay loaded
    though nobody is served by them. settle: seconds that a bad bundle must lie unchanged before it is refused.
    Every method may be called by any thread.
    """

    def __init__(
        self,
        repository: Path,
        name: str,
        open_bundle: Callable[[Path], Model],
        keep: int = 2,
        settle: float = 2.0,
        processes: Processes | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.repository = repository
        self.name = name
        self.counts = Counts()
        self.shadow: Shadow | None = None
        self.wanted = Wanted(None, None, Traffic())
        self.processes = processes or OneProcess()
        self._home = bundle.model_directory(repository, name)
        self.versions = Versions(self._home, open_bundle, settle, clock, self.counts)
        self._keep = keep
        self._serving: Serving | None = None
        self._lock = threading.RLock()
        self._known = set(bundle.versions(repository, name))
        self._recent: list[int] = []
        self._unloaded: set[int] = set()
        self.garbled = ""
        self._published: ProcessState | None = None

    def of(self, user_id: str) -> Model:
        """The model that answers the user's call. Raises BundleError where no version could be loaded yet."""
        serving = self._serving
        if serving is None:
            raise BundleError(f"{self._home}: no version is loaded")
        if serving.canary is None or step(user_id, self.name) >= serving.steps:
            return serving.active
        return serving.canary

    @property
    def active(self) -> Model | None:
        """The version that answers everybody whom the canary does not."""
        serving = self._serving
        return serving.active if serving else None

    @property
    def canary(self) -> Model | None:
        """The version that answers a share of the users."""
        serving = self._serving
        return serving.canary if serving else None

    def open(self) -> Model:
        """Load the active version and return it. Raises BundleError where there is none or it cannot be loaded."""
        with self._lock:
            bundle.current(self.repository, self.name)
            active = bundle.linked(self.repository, self.name)
            if active is None:
                raise BundleError(f"{self._home / bundle.CURRENT}: names no version")
            model = self.versions.require(active)
            self.refresh(serving_only=True)
            return model

    def refresh(self, serving_only: bool = False) -> None:
        """Do what the repository asks for: load what is new, swap what serves, let go of what is no longer needed.

        serving_only: leave what nobody is served by for later.
        """
        with self._lock:
            self.wanted = wanted = self._read()
            serving = [wanted.active, *(s.version for s in (wanted.traffic.canary, wanted.traffic.shadow) if s)]
            for version in serving:
                if version is not None:
                    self._unloaded.discard(version)
                    self.versions.ensure(version)
            self._unloaded -= set(wanted.traffic.loaded)
            self._swap(wanted)
            if not serving_only:
                for version in self._ahead(wanted):
                    self.versions.ensure(version)
            self._release(wanted)
            self._publish()

    def load(self, version: int) -> None:
        """Load the version and keep it loaded, in every process. Raises BundleError where it cannot be."""
        self.require(version)
        self._change(lambda t: Traffic(t.canary, t.shadow, tuple(sorted({*t.loaded, version}))))

    def unload(self, version: int) -> None:
        """Let go of a version, in every process. Raises Conflict where it serves or shadows, NotFound where there is
        none such and none was to be kept."""
        with self._lock:
            self.refresh(serving_only=True)
            if version in self._needed(self.wanted):
                raise Conflict(f"model {self.name}: version {version} serves; activate another or change the traffic")
            there = version in self._traffic().loaded or self.versions.of(version) is not None
            if not there and not self._has(version):
                raise NotFound(f"model {self.name}: no version {version} in {self.repository}")
            self._unloaded.add(version)
            self._change(lambda t: Traffic(t.canary, t.shadow, tuple(v for v in t.loaded if v != version)))

    def check(self, version: int, expected: int | None = None) -> None:
        """Raise what `activate` would, and change nothing but what is loaded."""
        self.require(version)
        bundle.require_active(self.repository, self.name, expected)

    def activate(self, version: int, expected: int | None = None) -> None:
        """Make the version active once it is loaded here. Raises BundleError, NotFound or Conflict; see `bundle`."""
        self.require(version)
        bundle.activate(self.repository, self.name, version, expected)
        self.refresh(serving_only=True)

    def rollback(self, expected: int | None = None) -> int:
        """Make the version that was active before active again and return it. Raises as `activate`."""
        previous = bundle.linked(self.repository, self.name, bundle.PREVIOUS)
        if previous is not None:
            self.require(previous)
        version = bundle.rollback(self.repository, self.name, expected)
        self.refresh(serving_only=True)
        return version

    def route(self, change: Callable[[Traffic], Traffic]) -> None:
        """Change canary and shadow, once both are loaded. Raises BundleError or NotFound where one cannot be."""
        with self._lock:
            new = change(self._traffic())
            for share in (new.canary, new.shadow):
                if share:
                    self.require(share.version)
            self._change(change)

    def require(self, version: int) -> Model:
        """The version, loaded. Raises NotFound where the repository has none such, BundleError where it is bad."""
        if not self._has(version) and self.versions.of(version) is None:
            raise NotFound(f"model {self.name}: no version {version} in {self.repository}")
        with self._lock:
            self._unloaded.discard(version)
            self._known.add(version)
            model = self.versions.require(version)
            self._publish()
            return model

    def _has(self, version: int) -> bool:
        """Whether the repository has such a version, good or bad."""
        return (self._home / str(version)).is_dir()

    def _publish(self) -> None:
        active = self.active
        state = ProcessState(os.getpid(), active.manifest.version if active else None, self.versions.numbers())
        if state != self._published:
            self._published = state
            self.processes.publish(self.name, state)

    def _change(self, change: Callable[[Traffic], Traffic]) -> None:
        with bundle.locked(self._home):
            traffic.write(self._home, change(self._traffic()))
        self.refresh(serving_only=True)

    def _traffic(self) -> Traffic:
        """The traffic in the file; where it is garbled, the one that is followed, so that a change mends the file."""
        try:
            return traffic.read(self._home)
        except TrafficError:
            return self.wanted.traffic

    def _read(self) -> Wanted:
        """What the repository asks for; what cannot be read, traffic or `current`, stays as it was."""
        kept = self.wanted
        try:
            wanted, self.garbled = traffic.read(self._home), ""
        except TrafficError as error:
            wanted = kept.traffic
            if str(error) != self.garbled:
                self.garbled = str(error)
                self.counts.garbled += 1
                log.error("%s: the traffic stays as it was: %s", self.name, error)
        active = bundle.linked(self.repository, self.name)
        return Wanted(
            kept.active if active is None else active,
            bundle.linked(self.repository, self.name, bundle.PREVIOUS),
            wanted,
        )

    def _swap(self, wanted: Wanted) -> None:
        before = self._serving
        active = self._ready(wanted.active) or (before.active if before else None)
        if active is None:
            return
        share = wanted.traffic.canary
        canary = self._ready(share.version) if share and share.steps else None
        if canary is active:
            canary = None
        serving = Serving(active, canary, share.steps if canary and share else 0)
        if before is None or serving != before:
            self._serving = serving
            self._tell(before, serving)
        self.shadow = self._shadow(wanted, active)

    def _shadow(self, wanted: Wanted, active: Model) -> Shadow | None:
        share = wanted.traffic.shadow
        model = self._ready(share.version) if share and share.steps else None
        if share is None or model is None or model is active:
            return None
        kept = self.shadow
        return kept if kept == Shadow(model, share.steps) else Shadow(model, share.steps)

    def _ready(self, version: int | None) -> Model | None:
        return None if version is None else self.versions.of(version)

    def _tell(self, before: Serving | None, now: Serving) -> None:
        version = now.active.manifest.version
        if before is None or before.active is not now.active:
            self.counts.swaps += before is not None
            was = f", was {before.active.manifest.version}" if before else ""
            log.info("%s: version %s is active%s", self.name, version, was)
            self._recent = [version, *(v for v in self._recent if v != version)]
        if now.canary:
            log.info("%s: canary version %s gets %.2f %%", self.name, now.canary.manifest.version, now.steps / 100)
        elif before and before.canary:
            log.info("%s: no canary", self.name)

    def _ahead(self, wanted: Wanted) -> list[int]:
        """Versions to load though they serve nobody: asked for, the one before, and new ones as there is room."""
        there = bundle.versions(self.repository, self.name)
        self._known = (self._known | set(self.versions.numbers())) & set(there)
        previous = [v for v in (wanted.previous,) if v and self._keep and v not in self._needed(wanted)]
        room = self._keep - len(previous)
        new = [v for v in there if v not in self._known]
        ahead, passed = (new[-room:], new[:-room]) if room > 0 else ([], new)
        self._known |= set(passed)
        return [v for v in (*wanted.traffic.loaded, *previous, *ahead) if v not in self._unloaded]

    def _needed(self, wanted: Wanted) -> set[int]:
        """Versions that serve or shadow now, or are meant to."""
        models = [self.active, self.canary, self.shadow.model if self.shadow else None]
        shares = (wanted.traffic.canary, wanted.traffic.shadow)
        asked = {wanted.active, *(s.version for s in shares if s)}
        return {m.manifest.version for m in models if m} | {v for v in asked if v is not None}

    def _release(self, wanted: Wanted) -> None:
        """Keep what is needed, then the version before, then those newer than the active one, then those before."""
        needed = self._needed(wanted) | set(wanted.traffic.loaded)
        newest = sorted(self.versions.numbers(), reverse=True)
        ahead = [v for v in newest if wanted.active and v > wanted.active]
        order = dict.fromkeys((wanted.previous or 0, *ahead, *self._recent, *newest))
        self.versions.release(needed, [v for v in order if v not in self._unloaded], self._keep)
        self._recent = [v for v in self._recent if self.versions.of(v)]
