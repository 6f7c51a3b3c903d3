"""The sources that a bundle gets: fitted on the purchases before the newest features, and a new version with others."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.paths import DataPaths
from feature_repo.shop import require_same_shop
from feature_repo.store import service_name
from shoprank import bundle
from shoprank.sources import NOTES, CandidateSources
from training.export import write_version
from training.ingested import unchanged
from training.retrieval.learned import LEARNED, Progress, probing_of, require
from training.retrieval.log import PurchaseLog, read_catalogue, read_log
from training.retrieval.search import Probing
from training.retrieval.served import Source, fit_sources, write_served
from training.retrieval.traits import read_traits
from training.schedule import Schedule


@dataclass(frozen=True)
class Bundled:
    """Fitted sources. log: the purchases they were fitted on, those before `before` (naive UTC). learned: by name."""

    sources: list[Source]
    log: PurchaseLog
    before: datetime
    learned: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write them into a bundle's file."""
        write_served(path, self.sources, self.log)

    def notes(self, network_version: int = 0) -> dict[str, Any]:
        """What a manifest's `training` says of them, with the version that the network was trained as; 0 for its
        own."""
        return {
            NOTES: CandidateSources(self.before, self.learned, network_version).notes(),
            "searches": {name: asdict(how) for name, how in self.searches().items()},
        }

    def searches(self) -> dict[str, Probing]:
        """How each source that does not search all items does so, by its name."""
        return {source.name: how for source in self.sources if (how := probing_of(source))}


def fit_bundled(paths: DataPaths, learned: Sequence[str], progress: Progress) -> Bundled:
    """Fit all sources on the purchases before the newest features, with those of `LEARNED` by these names, each once.

    Raises UserError where a learned source has too little to learn from, and Conflict where other events are ingested
    while these are read.
    """
    names = tuple(dict.fromkeys(str(name) for name in learned))
    with unchanged(paths):
        serving = Schedule.read(paths).serving
        log = read_log(paths).before(serving)
        traits = read_traits(paths, log.catalogue.user_ids.tolist())
    sources = fit_sources(log, traits, progress)
    sources += [LEARNED[name](log, progress) for name in names]
    return Bundled(sources, log, serving, names)


def require_learned(paths: DataPaths, learned: Sequence[str]) -> None:
    """Raise UserError where one of these learned sources has too little to learn from: before a network is trained."""
    if learned:
        require(read_log(paths).before(Schedule.read(paths).serving), learned)


def require_own_shop(paths: DataPaths, active: Path) -> None:
    """Raise UserError where hardly any item that the bundle proposes is in this data's catalogue."""
    if (file := active / bundle.RETRIEVAL).is_file():
        with np.load(file, allow_pickle=False) as arrays:
            proposed = arrays["item_keys"].tolist()
        require_same_shop(proposed, read_catalogue(paths).item_keys.tolist(), paths.root, str(active))


def refit(repository: Path, model: str, sources: Bundled) -> Path:
    """Write the active version of a ranking model once more, with these sources, as its next version; that is active
    then, and its directory is returned.

    Raises NoActiveModel, BundleError where the active version was altered, ExportError where it cannot be written.
    """

    def fill(staged: Path, number: int) -> bundle.Manifest:
        active = bundle.current(repository, model)  # now: another job may have made a version while these were fitted
        manifest = bundle.verify(active)
        known = CandidateSources.of(manifest)
        network = known.network_version if known else manifest.version
        for name in manifest.files:
            if name != bundle.RETRIEVAL:
                shutil.copyfile(active / name, staged / name)
        sources.write(staged / bundle.RETRIEVAL)
        return replace(
            manifest,
            version=number,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            feature_service=service_name(model, number),
            training={**manifest.training, **sources.notes(network)},
        )

    return write_version(repository, model, fill)
