"""The model bundle: what training leaves on disk and a server loads, `model_repository/<model>/<version>/`.

A version directory (a whole number, as Triton and others read it) holds `model.onnx`, `golden.npz` (inputs with
their expected answers), in a ranking model `item.onnx`, `user.onnx` and `top.onnx` (the same model in parts),
`reference.npz` (the distribution of its inputs and scores, see `feature_repo.reference`) and `retrieval.npz` (the
sources of candidates, see `training.retrieval.served`), and `manifest.json`, which names every other file with its
SHA-256. `current` beside the versions is a symbolic link to the active one and is switched by one atomic rename;
`previous` links to the one before. Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from shoprank import traffic
from shoprank.errors import BundleError, Conflict, NoActiveModel, NotFound, TrafficError, UserError
from shoprank.plain_file import text_of

MANIFEST = "manifest.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
REFERENCE = "reference.npz"
RETRIEVAL = "retrieval.npz"
ITEM_TOWER = "item.onnx"
USER_TOWER = "user.onnx"
TOP = "top.onnx"
TOWERS = (ITEM_TOWER, USER_TOWER, TOP)
"""The model once more, as a server runs it that scores many items for one user: see `training.towers`."""
CURRENT = "current"
PREVIOUS = "previous"
FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
VERSION = traffic.VERSION


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle is: everything a server must hold against its own feature schema before serving it.

    kind: `ranking` (inputs are `feature_repo.schema`) or `table` (inputs are a flat table's columns).
    head: `sigmoid` (one logit) or `softmax` (two logits).
    numeric, categorical: names of the input columns in order; categorical_type: `int64` keys or `string`.
    schema_hash: SHA-256 of those names. feature_service: the Feast service that provides them, empty for a table.
    training: window, rows and seed. metrics: on the test set. thresholds: decision thresholds by name.
    files: SHA-256 (hex) of each other file of the bundle.
    """

    model: str
    version: int
    kind: str
    head: str
    created_at: str
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    categorical_type: str
    schema_hash: str
    feature_service: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        """The manifest as indented JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, bundle: Path) -> Manifest:
        """The manifest of the bundle directory. Raises BundleError where it is missing or malformed."""
        path = bundle / MANIFEST
        try:
            found = json.loads(text_of(path))
            json.dumps(found, ensure_ascii=False).encode()  # halves of a character are no text
            format_ = found.get("format", FORMAT)
            manifest = cls(**_checked(found)) if format_ == FORMAT else None
        except FileNotFoundError:
            raise BundleError(f"{path}: no such file; is {bundle} a model bundle?") from None
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise BundleError(f"{path}: not a manifest: {error}") from error
        if manifest is None:
            raise BundleError(f"{path}: format {format_}, but this version reads format {FORMAT}")
        return manifest


def _checked(found: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's fields as read from JSON. Raises TypeError naming the first of a type other than declared."""
    kinds: dict[Any, Callable[[Any], bool]] = {
        "str": lambda v: isinstance(v, str),
        "int": lambda v: isinstance(v, int),
        "tuple[str, ...]": lambda v: isinstance(v, list) and all(isinstance(e, str) for e in v),
        "Mapping[str, Any]": lambda v: isinstance(v, dict),
        "Mapping[str, float]": lambda v: isinstance(v, dict) and all(map(_is_number, v.values())),
        "Mapping[str, str]": lambda v: isinstance(v, dict) and all(isinstance(e, str) for e in v.values()),
    }
    for declared in fields(Manifest):
        if declared.name in found and not kinds[declared.type](found[declared.name]):
            raise TypeError(f"{declared.name} must be {declared.type}, found {found[declared.name]!r}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _is_number(value: object) -> bool:
    """Whether it is a number that float64 can hold."""
    if not isinstance(value, int | float):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(bundle: Path) -> Manifest:
    """Read the manifest and hold every file against its hash. Raises BundleError naming the first that differs."""
    manifest = Manifest.read(bundle)
    for name, expected in manifest.files.items():
        if Path(name).name != name:
            raise BundleError(f"{bundle / MANIFEST}: {name!r} is no name of a file beside it")
        path = bundle / name
        if not path.is_file():
            raise BundleError(f"{path}: missing, though the manifest names it")
        if (found := sha256(path)) != expected:
            raise BundleError(f"{path}: SHA-256 is {found}, the manifest says {expected}: the file was altered")
    if MODEL not in manifest.files:
        raise BundleError(f"{bundle / MANIFEST}: names no {MODEL}")
    return manifest


def model_directory(repository: Path, model: str) -> Path:
    """Directory of a model. Raises UserError for a name that is not letters, digits, `_` and `-`, 1 to 64 of them."""
    if not NAME.fullmatch(model):
        raise UserError(f"model {model!r}: a name has 1 to 64 letters, digits, _ or -")
    return repository / model


def require_kind(repository: Path, model: str, kind: str) -> None:
    """Raise UserError where the model's newest version is of another kind, so that one cannot bury the other."""
    for version in versions(repository, model)[-1:]:
        found = Manifest.read(repository / model / str(version)).kind
        if found != kind:
            raise UserError(
                f"model {model}: its versions in {repository} are of kind {found}, not {kind}; name another"
            )


def versions(repository: Path, model: str) -> list[int]:
    """Version numbers of `model`, ascending; empty where there is none."""
    directory = model_directory(repository, model)
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if VERSION.fullmatch(p.name) and (p / MANIFEST).is_file())


def current(repository: Path, model: str) -> Path:
    """Directory of the active version. Raises NoActiveModel where none is active, with how to have one."""
    link = model_directory(repository, model) / CURRENT
    if not link.is_dir():
        newest = versions(repository, model)[-1:]
        advice = f"models activate {newest[0]} --model {model}" if newest else "train"
        raise NoActiveModel(f"{link}: no active model; run `shoprank {advice}` first")
    return link.resolve()


def linked(repository: Path, model: str, link: str = CURRENT) -> int | None:
    """The version that `current` or `previous` names, None where there is no such link. The version may be gone."""
    try:
        name = (model_directory(repository, model) / link).readlink().name
    except OSError:
        return None
    return int(name) if VERSION.fullmatch(name) else None


def checked(repository: Path, model: str, version: int) -> Manifest:
    """The manifest of a version whose files all hold. Raises BundleError where they do not, NotFound for no version."""
    bundle = model_directory(repository, model) / str(version)
    if not (VERSION.fullmatch(str(version)) and bundle.is_dir()):
        raise NotFound(f"model {model}: no version {version} in {repository}")
    manifest = verify(bundle)
    if (manifest.model, manifest.version) != (model, version):
        raise BundleError(f"{bundle}: its manifest is of {manifest.model} version {manifest.version}")
    return manifest


def activate(repository: Path, model: str, version: int, expected: int | None = None) -> Path:
    """Make `version` the active one by one atomic rename and return its directory. Verifies it first.

    The version that was active becomes `previous`, and a canary or shadow of this version ends. Raises Conflict where
    another version than `expected` is active; 0 expects none, None anything.
    """
    checked(repository, model, version)
    home = model_directory(repository, model)
    with locked(home):
        active = require_active(repository, model, expected)
        if active is not None and active != version:
            _link(home, PREVIOUS, active)
        with contextlib.suppress(TrafficError):  # a garbled file must not stand in the way of a rollback
            state = traffic.read(home)
            if state.without(version) != state:
                traffic.write(home, state.without(version))
        _link(home, CURRENT, version)
    return home / str(version)


def require_active(repository: Path, model: str, expected: int | None) -> int | None:
    """The active version. Raises Conflict where it is another than `expected`; 0 expects none, None anything."""
    active = linked(repository, model)
    if expected is not None and expected != (active or 0):
        raise Conflict(f"model {model}: version {active or 'none'} is active, not {expected or 'none'}")
    return active


def rollback(repository: Path, model: str, expected: int | None = None) -> int:
    """Make the version that was active before the active one again and return it.

    Raises NotFound where the model has no version, Conflict where none was active before.
    """
    if not versions(repository, model):
        raise NotFound(f"model {model}: no version in {repository}")
    previous = linked(repository, model, PREVIOUS)
    if previous is None or previous == linked(repository, model):
        raise Conflict(f"model {model}: no version was active before this one")
    activate(repository, model, previous, expected)
    return previous


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the model's directory against other changes, of this process and of others.

    Raises Conflict where nothing can be changed there.
    """
    import fcntl  # not on every system that a client runs on

    descriptor = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise Conflict(f"{home}: cannot be changed: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def _link(home: Path, name: str, version: int) -> None:
    """Point the link at the version by one atomic rename."""
    staged = home / f".{name}.{os.getpid()}"
    staged.unlink(missing_ok=True)
    staged.symlink_to(str(version), target_is_directory=True)
    staged.replace(home / name)
