"""What pydantic found wrong, as a line for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def complaints(error: ValidationError, values: bool = True) -> str:
    """Each place with its value, unless that may be secret, and what is wrong there."""
    found = []
    for one in error.errors(include_input=values):
        place = ".".join(map(str, one["loc"]))
        said = str(one["ctx"]["error"]) if one["type"] == "value_error" else one["msg"]
        given = f"={one['input']!r}" if values and one["loc"] else ""
        found.append(f"{place}{given}: {said}" if place else said)
    return "; ".join(found)
