"""Lets a challenger score what the served model has answered, unseen and never at a caller's cost."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import time

from server.models.counts import Counts
from server.models.model import F32, Model
from server.models.rotation import RotatingFile
from server.towers import Asked
from shoprank.traffic import STEPS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """A user's n items that were scored: their log-odds, float32 (n,), as version `served` gave them."""

    request_id: str
    user_id: str
    asked: Asked
    logits: F32
    served: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """The challenger, and the share of the calls it scores, in hundredths of a percent."""

    model: Model
    steps: int


class Shadowing:
    """Scores answered calls by the challenger, in a thread of its own, and writes both answers down.

    max_calls, max_rows: what waits at most, calls and their items; more is dropped. pseudonym: what the file says
    instead of the user's id.
    """

    def __init__(
        self,
        out: RotatingFile,
        max_calls: int,
        max_rows: int,
        pseudonym: Callable[[str], str],
        counts: Counts,
        random: Random | None = None,
    ) -> None:
        self._out = out
        self._max_calls = max_calls
        self._max_rows = max_rows
        self._pseudonym = pseudonym
        self._counts = counts
        self._random = random or Random()
        self._waiting: deque[tuple[Model, Answered]] = deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def offer(self, shadow: Shadow, answered: Answered) -> None:
        """Score the call later where it falls into the sample and there is room. Returns at once."""
        if answered.served == shadow.model.manifest.version or self._random.random() * STEPS >= shadow.steps:
            return
        rows = len(answered.logits)
        with self._changed:
            if self._stopped or len(self._waiting) >= self._max_calls or self._rows + rows > self._max_rows:
                self._counts.shadow_dropped += 1
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
            self._waiting.append((shadow.model, answered))
            self._rows += rows
            self._changed.notify()

    def stop(self) -> None:
        """Drop what waits, finish the call at hand and end the thread."""
        with self._changed:
            self._stopped = True
            self._counts.shadow_dropped += len(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                model, answered = self._waiting.popleft()
                self._rows -= len(answered.logits)
            try:
                self._out.write(self._line(model, answered))
                self._counts.shadowed += 1
            except Exception:  # whatever a challenger does, it must not be felt
                self._counts.shadow_failed += 1
                if self._counts.shadow_failed == 1:
                    log.exception("the shadow could not score a call; further failures are counted alone")

    def _line(self, model: Model, answered: Answered) -> str:
        _, logits = model.score(answered.asked)
        return json.dumps(
            {
                "time": round(time(), 3),
                "request_id": answered.request_id,
                "user": self._pseudonym(answered.user_id),
                "model": model.manifest.model,
                "served_version": answered.served,
                "shadow_version": model.manifest.version,
                "item_ids": answered.asked.items.ids,
                "served_logits": [round(float(z), 6) for z in answered.logits],
                "shadow_logits": [round(float(z), 6) for z in logits],
            }
        )
