"""All models of a repository: the one whose users are served, and the others, which answer tensors alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from server.call import current
from server.models.loading import open_bundle
from server.models.model import F32, Model
from server.models.processes import OneProcess, Processes
from server.models.registry import Models
from server.models.rotation import RotatingFile
from server.models.settings import ModelSettings
from server.models.shadow import Answered, Shadowing
from server.towers import Asked
from shoprank import bundle
from shoprank.errors import BundleError, NotFound

STOP_SECONDS = 5.0
"""Time for a version that is being loaded to be loaded, before the server stops without it."""

log = logging.getLogger(__name__)


class Repository:
    """The models of a repository, followed as it changes.

    served: name of the model whose users are served. threads: of ONNX Runtime a request. prepare: called with each
    newly loaded version of that model before it answers. pseudonym: what the shadow's file says instead of a user's id.
    """

    def __init__(
        self,
        folder: Path,
        served: str,
        settings: ModelSettings,
        threads: int,
        pseudonym: Callable[[str], str],
        prepare: Callable[[Model], None] | None = None,
        processes: Processes | None = None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._threads = threads
        self._processes = processes or OneProcess()
        self.served = self._models(served, prepare)
        self._all = {served: self.served}
        out = RotatingFile(settings.shadow_log, settings.shadow_log_bytes, settings.shadow_log_files)
        self._shadowing = Shadowing(
            out, settings.shadow_calls, settings.shadow_rows, pseudonym, self.served.counts, Random()
        )
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="models", daemon=True)

    def start(self) -> Model:
        """Load the active version of the served model, return it, and follow the repository from now on.

        Raises BundleError where that version cannot be loaded.
        """
        model = self.served.open()
        self._told.set()
        self._thread.start()
        return model

    def stop(self) -> None:
        """End the threads; what is loaded goes on answering. A repository that does not answer is not waited for."""
        self._ended = True
        self._told.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        self._shadowing.stop()

    def wake(self) -> None:
        """Look at the repository now."""
        self._told.set()

    def names(self) -> list[str]:
        """Names of all models, sorted."""
        return sorted(self._all)

    def find(self, name: str) -> Models:
        """The model of that name. Raises NotFound where there is none."""
        found = self._all.get(name)
        if found is None:
            self._discover()
            found = self._all.get(name)
        if found is None:
            raise NotFound(f"model {name!r}: not in this repository; there are {', '.join(self.names())}")
        return found

    def answered(self, user_id: str, asked: Asked, logits: F32, model: Model) -> None:
        """Have the shadow of the served model, where there is one, score what was answered. Returns at once."""
        shadow = self.served.shadow
        if shadow is not None:
            answered = Answered(current().request_id, user_id, asked, logits, model.manifest.version)
            self._shadowing.offer(shadow, answered)

    def _models(self, name: str, prepare: Callable[[Model], None] | None) -> Models:
        load = partial(_open, threads=self._threads, rows=self._settings.warmup_rows, prepare=prepare)
        return Models(self._folder, name, load, self._settings.keep, self._settings.settle_seconds, self._processes)

    def _discover(self) -> None:
        try:
            names = [p.name for p in self._folder.iterdir() if bundle.NAME.fullmatch(p.name)]
        except OSError as error:
            log.error("%s: cannot be read: %s", self._folder, error)
            return
        with self._lock:
            for name in names:
                if name not in self._all and bundle.linked(self._folder, name) is not None:
                    self._all = {**self._all, name: self._models(name, None)}

    def _watch(self) -> None:
        while not self._ended:
            self._told.wait(self._settings.poll_seconds)
            self._told.clear()
            if self._ended:
                return
            self._discover()
            for models in self._all.values():
                try:
                    models.refresh()
                except Exception:  # the repository must be followed whatever happens to it
                    log.exception("%s: cannot be followed; trying again", models.name)


def _open(directory: Path, threads: int, rows: int, prepare: Callable[[Model], None] | None) -> Model:
    model = open_bundle(directory, threads, rows)
    if prepare is not None:
        try:
            prepare(model)
        except BundleError:
            raise
        except Exception as error:  # whatever a model does wrong, the one that serves goes on
            raise BundleError(f"{directory}: cannot be made ready: {type(error).__name__}: {error}") from error
    return model
