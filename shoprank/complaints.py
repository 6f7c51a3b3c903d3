"""What pydantic found wrong, as a line for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

UNKNOWN = ("missing", "extra_forbidden")
"""Errors whose value is none of the place's: that of what it is in, or of a name that is not known."""


def complaints(error: ValidationError, values: bool = True, place_of: Callable[[str], str] = str) -> str:
    """Each place, its value, and what is wrong there.

    values: whether values are shown where they are a number or a text without "@", which may stand after a password.
    place_of: what to call a place, such as `limits.queue`; that as it is without it.
    """
    return "; ".join(_complaint(one, values, place_of) for one in error.errors(include_input=values))


def _complaint(one: Mapping[str, Any], values: bool, place_of: Callable[[str], str]) -> str:
    place = ".".join(map(str, one["loc"]))
    place = place_of(place) if place else place
    said = str(one["ctx"]["error"]) if one["type"] == "value_error" else str(one["msg"])
    if not place:
        return said
    given = one.get("input")
    shown = values and one["type"] not in UNKNOWN and isinstance(given, str | int | float) and "@" not in str(given)
    return f"{place}={given!r}: {said}" if shown else f"{place}: {said}"
