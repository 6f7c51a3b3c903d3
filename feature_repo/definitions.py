"""What `feast plan`, `feast apply` and `feast ui` read: the repository's objects as module attributes.

The data directory is `SHOPRANK_DATA` (default `data` beside this folder) and the models whose versions get a
feature service are those below `SHOPRANK_MODEL_REPOSITORY` (default `model_repository`, likewise).
"""

import os
from pathlib import Path

from feature_repo.paths import DataPaths
from feature_repo.store import service_names
from feature_repo.views import build

_root = Path(__file__).resolve().parent.parent
_objects = build(
    DataPaths(Path(os.environ.get("SHOPRANK_DATA", _root / "data"))),
    service_names(Path(os.environ.get("SHOPRANK_MODEL_REPOSITORY", _root / "model_repository"))),
)
globals().update({f"{type(o).__name__.lower()}_{o.name}": o for o in _objects})
