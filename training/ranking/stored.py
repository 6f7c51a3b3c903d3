"""The MLP of the training set of `shoprank dataset`, on stored features alone: the plain 128-64-1 that the rankers are
held against, trained on the weeks before the rankers' validation.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from feature_repo.paths import DataPaths
from feature_repo.snapshots import STAMP
from shoprank.errors import UserError
from training.dataset.build import require_built
from training.fit import Trained, train
from training.ranking.lists import narrow
from training.retrieval.log import F64
from training.schedule import HORIZON, WEEK
from training.settings import Settings
from training.shards import RANKING, Block


@dataclass(frozen=True)
class StoredFeatures:
    """Log-odds by the stored features of a block, which come first in it."""

    trained: Trained

    def score(self, block: Block) -> F64:
        """Calibrated log-odds (n,)."""
        found: F64 = self.trained.logits(narrow(block, RANKING))
        return found


def fit_stored(paths: DataPaths, until: datetime, seed: int = 0) -> StoredFeatures:
    """Train on the shards whose label windows end at or before `until`; the newest of them stops and calibrates.

    A request falls up to a week after its shard's cutoff, its label window a week beyond. Raises UserError where fewer
    than two shards are left, or they are of other events than those ingested last.
    """
    require_built(paths)
    shards = sorted((paths.dataset / "train").glob("part-*.parquet"))
    usable = [path for path in shards if _cutoff(path) + WEEK + HORIZON <= until]
    if len(usable) < 2:
        raise UserError(f"{paths.dataset}: {len(usable)} training weeks end before {until}, at least 2 are needed")
    folder = paths.ranking / "stored"
    shutil.rmtree(folder, ignore_errors=True)
    for split, chosen in (("train", usable[:-1]), ("validation", usable[-1:]), ("test", usable[-1:])):
        (folder / split).mkdir(parents=True)
        for path in chosen:
            (folder / split / path.name).symlink_to(path.resolve())
    return StoredFeatures(train(folder, RANKING, Settings(seed=seed)))


def _cutoff(path: Path) -> datetime:
    return datetime.strptime(path.stem, f"part-{STAMP}")
