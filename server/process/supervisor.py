"""Keeps so many worker processes on one port: starts them, replaces those that end, and ends them in order."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from multiprocessing.connection import wait
from time import monotonic
from types import FrameType

from server.process import cores
from server.process.assignment import Alive, Assignment, Failed, Loaded, Serving
from server.process.child import Child
from server.process.port import authority, reserve
from server.security.pseudonym import new_key
from server.settings import Settings
from server.telemetry.exposition import Exposition
from shoprank.errors import ShoprankError

MAX_PAUSE = 30.0
"""Seconds before a worker is started anew at most."""
STEADY = 60.0
"""Seconds after which a worker that ends was not ended by its start."""
MARGIN = 2.0
"""Seconds beyond the grace period before a worker that was told to end is killed."""
TURN = 0.5
"""Seconds between looks at the time at most."""

log = logging.getLogger(__name__)


class Supervisor:
    """Runs the workers of one port until it is told to stop.

    ready: called once with what is served and the address, when every worker serves for the first time.
    """

    def __init__(self, settings: Settings, ready: Callable[[str, str], None]) -> None:
        self._cores = cores.available()
        self._workers = settings.process.workers or len(self._cores)
        self._port = reserve(settings.host, settings.port)
        self._settings = settings.model_copy(update={"port": self._port.getsockname()[1]})
        self._ready = ready
        self._pseudonym_key = new_key()
        self._children: list[Child] = []
        self._failures = [0] * self._workers
        self._not_before = [0.0] * self._workers
        self._renewing: list[Child] = []
        self._left: dict[int, int] = {}  # by place, the slot that its next worker takes over
        self._exposition: Exposition | None = None
        self._announced = False
        self._stopping = False
        self._error: ShoprankError | None = None
        self._signals: list[int] = []

    @property
    def address(self) -> str:
        """Where the workers listen."""
        return authority(self._settings.host, self._settings.port)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP replaces the workers one after another. Runs in the main thread.

        Raises what kept a worker from starting at first, or later on, once none serves and several tries have failed.
        """
        awake, wake = socket.socketpair()
        self._exposition = Exposition.start(self._settings, slots=self._workers + 1)
        with self._port, awake, wake:
            awake.setblocking(False)
            wake.setblocking(False)
            signal.set_wakeup_fd(wake.fileno())
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, self._noted)
            try:
                self._supervise(awake)
            finally:
                signal.set_wakeup_fd(-1)
                for child in self._children:
                    child.kill()
                    child.end()
                if self._exposition:
                    self._exposition.stop()

    def _noted(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _supervise(self, awake: socket.socket) -> None:
        while self._children or not self._stopping:
            self._obey()
            if not self._stopping:
                self._renew()
                self._fill()
            self._look_at_the_time()
            heard = wait([awake, *(child.connection for child in self._children)], TURN)
            if awake in heard:
                awake.recv(64)
            for child in [child for child in self._children if child.connection in heard]:
                self._hear(child)
        if self._error:
            raise self._error

    def _obey(self) -> None:
        """Do what signals asked for."""
        while self._signals:
            number = self._signals.pop(0)
            if number != signal.SIGHUP:
                log.info("stopping %d workers", len(self._children))
                self._stop()
            elif not self._renewing and self._announced:
                log.info("replacing %d workers, one after another", len(self._children))
                self._renewing = [child for child in self._children if not child.stopping]

    def _stop(self) -> None:
        self._stopping = True
        for child in self._children:
            child.stop(self._within())

    def _within(self) -> float:
        return self._settings.process.drain_seconds + self._settings.grace_seconds + MARGIN

    def _renew(self) -> None:
        """One step of a rolling restart: the first of those to be replaced ends once another serves in its place."""
        self._renewing = [child for child in self._renewing if child in self._children]
        if not self._renewing or any(child.stopping for child in self._children):
            return
        old = self._renewing[0]
        new = next((c for c in self._children if c.place == old.place and c is not old and not c.stopping), None)
        if new is None:
            self._spawn(old.place)
        elif new.serving:
            old.stop(self._within())

    def _fill(self) -> None:
        """Start a worker in every place that has none, if it is time to."""
        for place in range(self._workers):
            there = any(child.place == place and not child.stopping for child in self._children)
            if not there and monotonic() >= self._not_before[place]:
                self._spawn(place)

    def _spawn(self, place: int) -> None:
        slot = self._slot(place)
        pinned = self._settings.process.pin and self._workers > 1
        mine = cores.share(self._cores, place, self._workers) if pinned else ()
        block = self._exposition.block.name if self._exposition else None
        key = self._pseudonym_key
        self._children.append(Child.spawn(Assignment(self._settings, place, slot, self._workers, mine, key, block)))

    def _slot(self, place: int) -> int:
        """The slot that the place's last worker left, so that it is told of as down no more; else one that is free."""
        if (left := self._left.pop(place, None)) is not None:
            return left
        taken = {child.assignment.slot for child in self._children} | set(self._left.values())
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def _leave(self, child: Child) -> None:
        """Keep the slot of a worker that has ended for the next one of its place; where there is one, none is down."""
        place, slot = child.place, child.assignment.slot
        filled = any(other.place == place and not other.stopping for other in self._children)
        if not filled and place not in self._left:
            self._left[place] = slot
        elif self._exposition:
            self._exposition.block.release(slot)

    def _look_at_the_time(self) -> None:
        """Kill workers that take too long to start, to say something, or to end."""
        now, process = monotonic(), self._settings.process
        for child in self._children:
            if child.kill_at is not None:
                late, why = now > child.kill_at, "has not ended within its grace period"
            elif child.serving:
                late, why = now - child.heard > process.hang_seconds, f"was silent for {process.hang_seconds:g} s"
            else:
                late, why = now - child.started > process.start_seconds, "has not started in time"
            if late:
                log.error("%s %s: killed", child, why)
                child.kill()

    def _hear(self, child: Child) -> None:
        match child.receive():
            case Serving(description):
                child.serving = True
                self._announce(description)
                self._tell_all()
            case Loaded(model, state):
                child.loaded[model] = state
                self._tell_all()
            case Failed(error):
                child.error = error
            case Alive():
                pass
            case None:
                self._ended(child)

    def _tell_all(self) -> None:
        """Tell every worker what those that serve have of each model."""
        serving = [child for child in self._children if child.serving and not child.stopping]
        models = {model for child in serving for model in child.loaded}
        states = {model: [child.loaded[model] for child in serving if model in child.loaded] for model in models}
        for child in serving:
            child.tell(states)

    def _announce(self, description: str) -> None:
        serving = {child.place for child in self._children if child.serving}
        if not self._announced and len(serving) == self._workers:
            self._announced = True
            self._ready(description, self.address)

    def _ended(self, child: Child) -> None:
        code = child.end()
        self._children.remove(child)
        self._leave(child)
        self._tell_all()
        if child.stopping or self._stopping:
            while_starting = not child.serving and code == -signal.SIGTERM  # nothing heeds the signal by then
            if code and not while_starting:
                log.error("%s ended with %d", child, code)
            return
        if child.serving and monotonic() - child.started > STEADY:
            self._failures[child.place] = 0
        self._failures[child.place] += 1
        pause = min(self._settings.process.restart_seconds * 2 ** (self._failures[child.place] - 1), MAX_PAUSE)
        self._not_before[child.place] = monotonic() + pause
        reason = f": {child.error}" if child.error else ""
        log.error("%s ended with %d%s", child, code, reason)
        if not child.serving:
            self._renewing = []  # what does not start must not replace what serves
            self._give_up_where_none_serves(child)

    def _give_up_where_none_serves(self, child: Child) -> None:
        """Stop if a worker that has just failed to start leaves no hope for any."""
        none_serves = not any(other.serving for other in self._children)
        if not self._announced or (none_serves and self._failures[child.place] >= self._settings.process.starts):
            self._error = child.error or ShoprankError(
                f"worker {child.place} ended while it started; the log says more"
            )
            self._stop()
