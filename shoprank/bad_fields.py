"""Bad fields of one request, gathered so that all of them are named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import Message

from shoprank.errors import FieldViolation, InvalidRequest

T = TypeVar("T")


@dataclass(slots=True)
class BadFields:
    """Gathers them in the order in which they are found."""

    found: list[FieldViolation] = field(default_factory=list)

    def add(self, name: str, description: str) -> None:
        """Gather one."""
        self.found.append(FieldViolation(name, description))

    def part(self, make: Callable[[], T], inside: str = "") -> T | None:
        """What is made; None where it cannot be for bad fields, which are gathered. inside: what their paths begin
        with."""
        try:
            return make()
        except InvalidRequest as error:
            self.found += [FieldViolation(f"{inside}{v.field}", v.description) for v in error.violations]
            return None

    def refuse(self, kind: type[Message]) -> None:
        """Raise InvalidRequest where there is one, naming them in the order of the fields of this kind of message."""
        if self.found:
            number = {name: one.number for name, one in kind.DESCRIPTOR.fields_by_name.items()}
            raise InvalidRequest(sorted(self.found, key=lambda v: number.get(re.split(r"[.\[]", v.field)[0], 0)))
