"""Bundles whose graphs are not run, for tests of what is loaded when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from server.models.model import Model
from server.models.registry import Models
from shoprank import bundle


def write(
    repository: Path,
    version: int,
    content: bytes | None = None,
    model: str = "m",
    kind: Literal["ranking", "table"] = "table",
) -> Path:
    """A bundle of files that hold; it is there whole at once."""
    home = repository / model
    staged = home / f".staged.{version}"
    staged.mkdir(parents=True)
    (staged / bundle.MODEL).write_bytes(b"graph %d" % version if content is None else content)
    manifest = bundle.Manifest(
        model=model,
        version=version,
        kind=kind,
        head="sigmoid",
        created_at="2024-01-01T00:00:00+00:00",
        numeric=("a",),
        categorical=(),
        categorical_type="string",
        schema_hash="0" * 64,
        metrics={"roc_auc": 0.75},
        files={bundle.MODEL: bundle.sha256(staged / bundle.MODEL)},
    )
    (staged / bundle.MANIFEST).write_text(manifest.to_json())
    return staged.rename(home / str(version))


class Graph:
    """Stands where a session would."""


class Opener:
    """Opens bundles once their hashes hold; counts, and runs a hook before each."""

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.before: Callable[[Path], None] = lambda directory: None

    def __call__(self, directory: Path) -> Model:
        self.before(directory)
        manifest = bundle.verify(directory)
        self.opened.append(manifest.version)
        return Model(manifest, cast(Any, Graph()))


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    """A repository of one model, a registry of it that is not open yet, and a clock."""

    def __init__(self, root: Path, versions: int = 1, keep: int = 2) -> None:
        self.root = root
        self.opener = Opener()
        self.clock = Clock()
        for version in range(1, versions + 1):
            write(root, version)
        bundle.activate(root, "m", 1)
        self.models = Models(root, "m", self.opener, keep=keep, settle=2.0, clock=self.clock)

    def activate(self, version: int) -> None:
        bundle.activate(self.root, "m", version)

    @property
    def active(self) -> int:
        """The version that serves."""
        return self.models.of("anybody").manifest.version

    @property
    def loaded(self) -> tuple[int, ...]:
        """Versions in memory, ascending."""
        return self.models.versions.numbers()
