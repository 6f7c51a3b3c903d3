"""Who is served what beside the active version: `model_repository/<model>/traffic.json`. Standard library only.

The file is the state that every server process of the repository follows; it is replaced by one atomic rename.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoprank.errors import TrafficError, UserError
from shoprank.plain_file import text_of

TRAFFIC = "traffic.json"
FORMAT = 1
VERSION = re.compile(r"[1-9][0-9]{0,8}")
"""Versions that a message can name: whole numbers of up to nine digits, from 1."""
STEPS = 10_000
"""Parts of the traffic that can be told apart: 0.01 % each."""


@dataclass(frozen=True, slots=True)
class Share:
    """A version and the part of the traffic it gets, in hundredths of a percent, 0 to 10,000."""

    version: int
    steps: int

    @property
    def percent(self) -> float:
        """The part as a percentage, 0 to 100."""
        return self.steps / 100


@dataclass(frozen=True, slots=True)
class Traffic:
    """canary: version that answers a share of the users. shadow: version that scores a share of the calls, unseen.

    loaded: versions kept in memory though nobody is served by them, ascending.
    """

    canary: Share | None = None
    shadow: Share | None = None
    loaded: tuple[int, ...] = ()

    def to_json(self) -> str:
        """The traffic as indented JSON."""
        shares = {name: _described(share) for name, share in (("canary", self.canary), ("shadow", self.shadow))}
        return json.dumps({"format": FORMAT, **shares, "loaded": list(self.loaded)}, indent=2) + "\n"

    @property
    def etag(self) -> str:
        """Changes whenever the traffic does."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def without(self, version: int) -> Traffic:
        """The traffic with no part for the version, which stays loaded where it is."""
        canary, shadow = (None if s and s.version == version else s for s in (self.canary, self.shadow))
        return Traffic(canary, shadow, self.loaded)

    @classmethod
    def parse(cls, text: str) -> Traffic:
        """The traffic in a JSON text. Raises ValueError naming what is wrong."""
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("not an object")
        if found.get("format") != FORMAT:
            raise ValueError(f"format {found.get('format')!r}, but this version reads format {FORMAT}")
        if unknown := sorted(set(found) - {"format", "canary", "shadow", "loaded"}):
            raise ValueError(f"unknown keys {unknown}")
        loaded = found.get("loaded", [])
        if not isinstance(loaded, list) or not all(_is_version(v) for v in loaded):
            raise ValueError(f"loaded must be a list of versions, found {loaded!r:.80}")
        return cls(_share(found, "canary"), _share(found, "shadow"), tuple(sorted(set(loaded))))


def steps(percent: float) -> int:
    """A percentage as hundredths of a percent. Raises UserError outside 0 to 100 and between two hundredths."""
    if not 0 <= percent <= 100:
        raise UserError(f"{percent:g} percent: must be 0 to 100")
    nearest = round(percent * 100)
    if abs(percent * 100 - nearest) > 1e-6:
        raise UserError(f"{percent!r} percent: give it in steps of 0.01")
    return nearest


def read(directory: Path) -> Traffic:
    """The traffic of the model in `directory`; none where there is no file. Raises TrafficError where it is garbled."""
    path = directory / TRAFFIC
    try:
        return Traffic.parse(text_of(path))
    except FileNotFoundError:
        return Traffic()
    except (OSError, UserError, ValueError, RecursionError) as error:
        raise TrafficError(f"{path}: {error}") from error


def write(directory: Path, traffic: Traffic) -> None:
    """Replace the model's traffic by one atomic rename, once it is on the disk."""
    path = directory / TRAFFIC
    staged = path.with_name(f".{TRAFFIC}.{os.getpid()}")
    with staged.open("w") as file:
        file.write(traffic.to_json())
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def _described(share: Share | None) -> dict[str, Any] | None:
    return {"version": share.version, "percent": share.percent} if share else None


def _share(found: Mapping[str, Any], name: str) -> Share | None:
    share = found.get(name)
    if share is None:
        return None
    if not isinstance(share, dict) or set(share) != {"version", "percent"}:
        raise ValueError(f"{name} must have a version and a percent, found {share!r:.80}")
    version, percent = share["version"], share["percent"]
    if not _is_version(version) or isinstance(percent, bool) or not isinstance(percent, int | float):
        raise ValueError(f"{name} must have a version from 1 and a percent, found {share!r:.80}")
    return Share(version, steps(percent))


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and VERSION.fullmatch(str(value)) is not None
