"""Versions of one model in memory: loaded once, refused once, let go when no longer needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.models.counts import Counts
from server.models.files import Fingerprint, fingerprint
from server.models.model import Model
from shoprank import bundle
from shoprank.errors import BundleError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version in memory and the files it came from."""

    model: Model
    files: Fingerprint


@dataclass(frozen=True, slots=True)
class Failure:
    """A bundle that could not be loaded: its files, why, since when (seconds of the clock), and whether that is final.

    It is final once the files have lain unchanged for a while: until then they may still be copied.
    """

    files: Fingerprint
    error: BundleError
    since: float
    final: bool

    @property
    def reason(self) -> str:
        """Why, in words."""
        return str(self.error)


class Versions:
    """The loaded versions of the model in `home`, and those that could not be.

    open_bundle: loads a version's directory, or raises BundleError. settle: seconds after which a failure is final.
    Not for several threads at once, but for `of` and `failure`.
    """

    def __init__(
        self,
        home: Path,
        open_bundle: Callable[[Path], Model],
        settle: float,
        clock: Callable[[], float],
        counts: Counts,
    ) -> None:
        self._home = home
        self._open = open_bundle
        self._settle = settle
        self._clock = clock
        self._counts = counts
        self._loaded: dict[int, Loaded] = {}
        self._failed: dict[int, Failure] = {}
        self.loading: int | None = None

    def of(self, version: int) -> Model | None:
        """The version where it is loaded."""
        found = self._loaded.get(version)
        return found.model if found else None

    def failure(self, version: int) -> Failure | None:
        """Why the version's files, as they are now, could not be loaded."""
        failed = self._failed.get(version)
        return failed if failed and failed.files == fingerprint(self._home / str(version)) else None

    def numbers(self) -> tuple[int, ...]:
        """Those loaded, ascending."""
        return tuple(sorted(self._loaded))

    def failed(self) -> tuple[int, ...]:
        """Those whose files are there and, as they are now, could not be loaded, ascending."""
        return tuple(sorted(v for v in tuple(self._failed) if (failed := self.failure(v)) and failed.files))

    def ensure(self, version: int) -> Model | None:
        """The version, loaded where its files are new; None, or as it was before, where they cannot be."""
        files = fingerprint(self._home / str(version))
        kept = self._loaded.get(version)
        if kept and files in (kept.files, ()):  # deleted files: it is served from memory
            return kept.model
        failed = self._failed.get(version)
        if failed and failed.files == files:
            self._judge(version, failed)
        else:
            self._try(version, files)
        return self.of(version)

    def require(self, version: int) -> Model:
        """The version, loaded where it is not. Raises BundleError where it cannot be, at once."""
        files = fingerprint(self._home / str(version))
        kept = self._loaded.get(version)
        if kept and files == kept.files:
            return kept.model
        self._try(version, files)
        if failed := self._failed.get(version):
            self._refuse(version, failed)
            raise failed.error.with_traceback(None)
        if (found := self._loaded.get(version)) is None:
            raise BundleError(f"{self._home / str(version)}: changed while it was loaded; try again")
        return found.model

    def release(self, needed: Collection[int], order: Sequence[int], keep: int) -> None:
        """Let go of all but the needed ones and the first `keep` others in that order."""
        others = [v for v in order if v in self._loaded and v not in needed]
        kept = {*needed, *others[:keep]}
        for version in set(self._loaded) - kept:
            del self._loaded[version]
            log.info("%s: version %s is no longer in memory", self._home.name, version)

    def _try(self, version: int, files: Fingerprint) -> None:
        directory = self._home / str(version)
        self.loading = version
        try:
            model = self._open(directory)
        except BundleError as error:
            failure = Failure(files, error, self._clock(), final=False)
            kept = self._failed.get(version)
            if kept and (kept.files, kept.reason) == (failure.files, failure.reason):
                failure = kept  # said already
            self._failed[version] = failure
            self._judge(version, failure)
            return
        finally:
            self.loading = None
        if fingerprint(directory) != files:  # changed meanwhile: look again the next time
            return
        self._failed.pop(version, None)
        self._loaded[version] = Loaded(model, files)
        self._counts.loads += 1
        log.info("%s: version %s is loaded", self._home.name, version)
        if model.towers is None and model.manifest.kind == "ranking":
            missing = ", ".join(name for name in bundle.TOWERS if name not in model.manifest.files)
            slowly = "%s: version %s lacks %s: its whole graph serves it, which takes longer; train again"
            log.warning(slowly, self._home.name, version, missing)

    def _judge(self, version: int, failure: Failure) -> None:
        if not failure.final and self._clock() - failure.since >= self._settle:
            self._refuse(version, failure)

    def _refuse(self, version: int, failure: Failure) -> None:
        if not failure.final:
            self._failed[version] = Failure(failure.files, failure.error, failure.since, final=True)
            self._counts.refusals += 1
            log.error("%s: version %s is refused: %s", self._home.name, version, failure.reason)
