"""Everything a process of the server measures itself with, put together from the settings."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from time import perf_counter
from typing import TYPE_CHECKING, Any

from server.security.reloaded import Reloaded
from server.security.tls import Served
from server.settings import Settings
from server.telemetry.access import AccessLog
from server.telemetry.block import Block
from server.telemetry.certificate import tell_expiry
from server.telemetry.exposition import Exposition
from server.telemetry.following import Following
from server.telemetry.recorder import Recorder
from server.telemetry.references import References
from server.telemetry.sampler import Sampler
from server.telemetry.slot import Slot
from server.telemetry.watch import Watch
from shoprank import bundle
from shoprank.errors import UserError

if TYPE_CHECKING:
    from server.models.repository import Repository
    from server.ranker import Answered
    from server.telemetry.tracing import Tracing

PAUSE = 1.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Instruments:
    """recorder: counts. watch: the outermost stage of calls. exposition: where this process serves metrics itself, None
    where its supervisor does or nobody.
    """

    recorder: Recorder
    watch: Watch
    exposition: Exposition | None
    _slot: Slot
    _beat: Beat
    _tracing: Tracing | None

    @classmethod
    def start(
        cls,
        settings: Settings,
        place: tuple[str, int] | None = None,
        name_user: Callable[[str], str] = str,
    ) -> Instruments:
        """Begin to measure.

        place: name of the supervisor's block and this worker's slot in it; without it the process counts for itself,
        and serves its metrics where they are on. name_user: what users are called in the log, where it names them.
        Raises UserError where the metrics' address is taken, or packages that traces need are missing.
        """
        telemetry = settings.telemetry
        tracing = _tracing(settings)
        exposition = None if place else Exposition.start(settings, slots=1)
        if place:
            slot = Block.attach(place[0]).slot(place[1])
        else:
            slot = exposition.block.slot(0) if exposition else Slot.private()
        seen = place is not None or exposition is not None
        sampler = Sampler(
            slot,
            References(bundle.model_directory(settings.model_repository, settings.model)),
            telemetry.drift_rows_per_second if seen else 0.0,
            telemetry.drift_window_seconds,
        )
        recorder = Recorder(slot, sampler)
        watch = Watch(recorder, AccessLog(telemetry, recorder, name_user), tracing)
        return cls(recorder, watch, exposition, slot, Beat([sampler.count]), tracing)

    def follow_certificate(self, served: Reloaded[Served]) -> None:
        """Tell from now on when the certificate ends."""
        self._beat.tasks.append(partial(tell_expiry, served, self.recorder))

    def follow(self, models: Repository) -> Answered:
        """Tell of the models from now on, and of answers; what is returned wants to know of each of these."""
        following = Following(self.recorder, models.served, models.answered)
        following.look()
        self._beat.tasks.append(following.look)
        return following.answered

    def stop(self) -> None:
        """Count and send what is left, and serve no more metrics."""
        self.recorder.ready(False)
        self._beat.stop()
        if self._tracing is not None:
            self._tracing.stop()
        self._slot.release()
        if self.exposition is not None:
            self.exposition.stop()


class Beat:
    """A thread that does the tasks about once a second, and once more when it ends."""

    def __init__(self, tasks: list[Callable[[], None]]) -> None:
        self.tasks = tasks
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it. Returns when the tasks are done."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(PAUSE):
            self._do()
        self._do()

    def _do(self) -> None:
        for task in tuple(self.tasks):
            try:
                task()
            except Exception:  # telemetry must not end before the server does
                log.exception("telemetry: a task failed")


class Threads(ThreadPoolExecutor):
    """The threads that answer calls; tells how long each call waited for one."""

    def __init__(self, count: int, recorder: Recorder) -> None:
        super().__init__(count, thread_name_prefix="answer")
        self._queued = recorder.queued

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As `ThreadPoolExecutor.submit`."""
        return super().submit(self._run, perf_counter(), fn, args, kwargs)

    def _run(self, submitted: float, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self._queued(perf_counter() - submitted)
        return fn(*args, **kwargs)


def _tracing(settings: Settings) -> Tracing | None:
    endpoint = settings.telemetry.traces
    if endpoint is None:
        return None
    try:
        from server.telemetry.tracing import Tracing
    except ImportError as error:
        raise UserError(
            f"telemetry.traces={endpoint}: {error.name} is not installed; install shoprank[server,tracing]"
        ) from error
    return Tracing(endpoint, settings.telemetry.trace_ratio, version("shoprank"))
