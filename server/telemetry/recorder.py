"""What a process counts, as calls that are cheap enough for the path of a request."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING

import grpc

from feature_repo.transforms import F32
from server.call import Call
from server.telemetry import registry
from server.telemetry.layout import LAYOUT
from server.telemetry.metric import Counter
from server.telemetry.registry import OTHER, Role, Shed
from server.telemetry.sampler import Sampler
from server.telemetry.slot import Slot

if TYPE_CHECKING:
    from server.ranker import Status
    from server.towers import Asked
    from shoprank.bundle import Manifest


@dataclass(frozen=True, slots=True)
class MethodCells:
    """Where a method's calls are counted: by code, and the first cell of their duration."""

    codes: dict[grpc.StatusCode, int]
    ok: int
    duration: int

    @classmethod
    def of(cls, path: str) -> MethodCells:
        """Those of the method at `/package.Service/Name`; of `other` where it is none of ours."""
        name = path.removeprefix("/")
        if name not in registry.METHOD.values:
            name = OTHER
        codes = {code: LAYOUT.place(registry.REQUESTS, name, code.name) for code in grpc.StatusCode}
        return cls(codes, codes[grpc.StatusCode.OK], LAYOUT.place(registry.DURATION, name))


IN_FLIGHT = LAYOUT.first(registry.IN_FLIGHT)
QUEUE = LAYOUT.first(registry.QUEUE_SECONDS)
PHASES = LAYOUT.places(registry.PHASE_SECONDS)
USER_ROWS = {state: LAYOUT.place(registry.FEATURE_ROWS, "user", state) for state in registry.STATE.values}
FOUND, STALE, MISSING = (LAYOUT.place(registry.FEATURE_ROWS, "item", state) for state in registry.STATE.values)
UNKNOWN = LAYOUT.places(registry.UNKNOWN_IDS)
USER_AGE, ITEM_AGE = (LAYOUT.place(registry.FEATURE_AGE, kind) for kind in registry.KIND.values)
CANDIDATES = LAYOUT.first(registry.CANDIDATES)
ANSWERS = LAYOUT.places(registry.ANSWERS)
SHED = LAYOUT.places(registry.SHED)
SECONDS_SUM, PARTS_SUM, AGES_SUM, COUNTS_SUM = (
    len(bounds) + 1 for bounds in (registry.SECONDS, registry.PARTS_OF_SECONDS, registry.AGES, registry.COUNTS)
)


class Recorder:
    """Counts into this process's slot. Everything may be called by any thread, at any time.

    sampler: takes rows for the measurement of drift.
    """

    def __init__(self, slot: Slot, sampler: Sampler) -> None:
        self._slot = slot
        self._cells = slot.cells
        self._lock = slot.lock
        self._sampler = sampler

    def began(self) -> None:
        """A call has arrived in its handler."""
        with self._lock:
            self._cells[IN_FLIGHT] += 1.0

    def ended(self, method: MethodCells, code: grpc.StatusCode, call: Call) -> float:
        """The call has ended with the code. Returns the seconds it took."""
        seconds = perf_counter() - call.began
        cells, at = self._cells, method.duration
        with self._lock:
            cells[IN_FLIGHT] -= 1.0
            cells[method.ok if code is grpc.StatusCode.OK else method.codes[code]] += 1.0
            cells[at + bisect_left(registry.SECONDS, seconds)] += 1.0
            cells[at + SECONDS_SUM] += seconds
            bounds = registry.PARTS_OF_SECONDS
            for phase, spent in call.phases.items():
                at = PHASES[phase]
                cells[at + bisect_left(bounds, spent)] += 1.0
                cells[at + PARTS_SUM] += spent
        return seconds

    def answered(self, status: Status, asked: Asked, logits: F32, version: int, role: Role) -> None:
        """A query for n items was answered, from features of that status, by the version in the role.

        logits: float32 (n,).
        """
        user_age, items_age, count = status.user_age, status.items_age, len(logits)
        found, stale, missing = status.items_found, status.items_stale, status.items_missing
        cells = self._cells
        with self._lock:
            cells[ANSWERS[role]] += 1.0
            cells[USER_ROWS[status.user.value]] += 1.0
            if user_age is None:
                cells[UNKNOWN["user"]] += 1.0
            else:
                cells[USER_AGE + bisect_left(registry.AGES, user_age)] += 1.0
                cells[USER_AGE + AGES_SUM] += user_age
            if found:
                cells[FOUND] += found
            if stale:
                cells[STALE] += stale
            if missing:
                cells[MISSING] += missing
                cells[UNKNOWN["item"]] += missing
            if items_age is not None:
                cells[ITEM_AGE + bisect_left(registry.AGES, items_age)] += 1.0
                cells[ITEM_AGE + AGES_SUM] += items_age
            cells[CANDIDATES + bisect_left(registry.COUNTS, count)] += 1.0
            cells[CANDIDATES + COUNTS_SUM] += count
        if count and self._sampler.wants():
            self._sampler.take(asked, logits, version, role)

    def queued(self, seconds: float) -> None:
        """A call has waited so long for a thread."""
        self._slot.observe(QUEUE, registry.PARTS_OF_SECONDS, seconds)

    def shed(self, reason: Shed) -> None:
        """A call was turned away."""
        self._slot.add(SHED[reason])

    def unknown_items(self, count: int) -> None:
        """So many ids of items, in a call that is answered without a model, were unknown."""
        self._slot.add(UNKNOWN["item"], count)

    def store_failed(self) -> None:
        """A call failed because the online store did not answer."""
        self._slot.add(LAYOUT.first(registry.STORE_ERRORS))

    def line_dropped(self) -> None:
        """A line of a call was not logged."""
        self._slot.add(LAYOUT.first(registry.LINES_DROPPED))

    def ready(self, serving: bool) -> None:
        """Health says SERVING, or does not."""
        self._slot.put(LAYOUT.first(registry.READY), float(serving))

    def certificate(self, expires: float) -> None:
        """The server's certificate ends at that time, seconds since 1970 UTC."""
        self._slot.put(LAYOUT.first(registry.CERTIFICATE), expires)

    def serving(self, role: Role, manifest: Manifest | None) -> None:
        """From now on this version has the role; None where nothing has."""
        created = 0.0 if manifest is None else datetime.fromisoformat(manifest.created_at).timestamp()
        self._slot.put(LAYOUT.place(registry.VERSION, role), 0.0 if manifest is None else manifest.version)
        self._slot.put(LAYOUT.place(registry.CREATED, role), created)

    def loaded(self, versions: Sequence[int]) -> None:
        """These versions are in memory; the first eight are named."""
        first, places = LAYOUT.first(registry.LOADED), len(registry.PLACE.values)
        for i in range(places):
            self._slot.put(first + i, versions[i] if i < len(versions) else 0.0)

    def counted(self, counter: Counter, count: float, *labels: str) -> None:
        """So many more of something that is counted elsewhere."""
        if count:
            self._slot.add(LAYOUT.place(counter, *labels), count)
