"""The sources that a bundle gets: fitted on the purchases before the newest features, and a new version with others."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_repo.paths import DataPaths
from feature_repo.store import service_name
from shoprank import bundle
from training.export import write_version
from training.retrieval.learned import LEARNED, Progress
from training.retrieval.log import PurchaseLog, read_log
from training.retrieval.served import Source, fit_sources, write_served
from training.retrieval.traits import read_traits
from training.schedule import Schedule

NOTES = "sources"
"""The entry of a manifest's `training` that tells of the sources."""


@dataclass(frozen=True)
class Bundled:
    """Fitted sources. notes: what the manifest says of them, as JSON."""

    sources: list[Source]
    log: PurchaseLog
    notes: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write them into a bundle's file."""
        write_served(path, self.sources, self.log)


def fit_bundled(paths: DataPaths, learned: Sequence[str], progress: Progress) -> Bundled:
    """Fit all sources on the purchases before the newest features, with those of `LEARNED` by these names, each once.

    Raises UserError where a learned source has too little to learn from.
    """
    serving = Schedule.read(paths).serving
    log = read_log(paths).before(serving)
    names = list(dict.fromkeys(str(name) for name in learned))
    sources = fit_sources(log, read_traits(paths, log.catalogue.user_ids.tolist()), progress)
    sources += [LEARNED[name](log, progress) for name in names]
    return Bundled(sources, log, {"purchases_before": f"{serving:%Y-%m-%dT%H:%M:%S}", "learned": names})


def learned_of(manifest: bundle.Manifest) -> list[str]:
    """The learned sources that a bundle has."""
    found = manifest.training.get(NOTES, {}).get("learned", [])
    return [str(name) for name in found]


def refit(repository: Path, model: str, sources: Bundled) -> Path:
    """Write the active version of a ranking model once more, with these sources, as its next version; that is active
    then, and its directory is returned.

    Raises NoActiveModel, BundleError where the active version was altered, ExportError where it cannot be written.
    """
    active = bundle.current(repository, model)
    manifest = bundle.verify(active)

    def fill(staged: Path, number: int) -> bundle.Manifest:
        for name in manifest.files:
            if name != bundle.RETRIEVAL:
                shutil.copyfile(active / name, staged / name)
        sources.write(staged / bundle.RETRIEVAL)
        return replace(
            manifest,
            version=number,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            feature_service=service_name(model, number),
            training={**manifest.training, NOTES: {**sources.notes, "network_of_version": manifest.version}},
        )

    return write_version(repository, model, fill)
