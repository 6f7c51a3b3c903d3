"""Feast without the run-time type checks of its own code.

Feast decorates its classes with typeguard's `typechecked`, which compiles each of their methods anew when they are
imported: more than two seconds, half of what a worker or a command needs to start, for checks that typeguard itself
calls not meant for production (https://typeguard.readthedocs.io/en/latest/api.html#typeguard.typechecked). Feast's own
commands, which import Feast before this repository, keep them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import typeguard


def leave_feast_as_it_is() -> None:
    """From now on `typechecked` returns what is Feast's unchanged. To be called before Feast is imported."""
    checked = typeguard.typechecked

    def typechecked(target: Any = None, **options: Any) -> Any:
        if target is None:
            return partial(typechecked, **options)
        if getattr(target, "__module__", "").partition(".")[0] == "feast":
            return target
        return checked(target, **options)

    typeguard.typechecked = typechecked
