"""The file of known callers: static keys, kept as hashes, and client certificates, each with its roles."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from server.security.reloaded import content
from server.security.roles import Principal, Role
from shoprank.complaints import complaints
from shoprank.errors import UserError

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_FILE_BYTES = 4_000_000


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    roles: frozenset[Role] = Field(min_length=1)
    expires: datetime | None = None

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("a name has 1 to 64 letters, digits, . _ or -")
        return name

    def principal(self, kind: Literal["key", "certificate"]) -> Principal:
        """The caller this entry stands for; a time without a zone is UTC."""
        if self.expires is None:
            return Principal(f"{kind}:{self.name}", self.roles, inf)
        aware = self.expires if self.expires.tzinfo else self.expires.replace(tzinfo=UTC)
        return Principal(f"{kind}:{self.name}", self.roles, aware.timestamp())


class Key(_Entry):
    """A static key. sha256: hex digest of the key's text."""

    sha256: str

    @field_validator("sha256")
    @classmethod
    def _digest(cls, sha256: str) -> str:
        if not SHA256.fullmatch(sha256):
            raise ValueError("is not a SHA-256 of 64 small hexadecimal digits")
        return sha256


class Certificate(_Entry):
    """A client certificate, by its subject (RFC 4514, such as `CN=batch,O=Shop`) or one alternative name.

    san: its kind and value: `dns:batch.shop`, `uri:spiffe://shop/batch`, `email:...`, `ip:...`.
    """

    subject: str | None = None
    san: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.subject is None) == (self.san is None):
            raise ValueError("name either subject or san")
        if self.san is not None and not self.san.startswith(("dns:", "uri:", "email:", "ip:")):
            raise ValueError("san begins with dns:, uri:, email: or ip:")
        return self


class Principals(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: tuple[Key, ...] = ()
    certificate: tuple[Certificate, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what, values in (
            ("key name", [k.name for k in self.key]),
            ("key sha256", [k.sha256 for k in self.key]),
            ("certificate name", [c.name for c in self.certificate]),
            ("certificate subject or san", [c.subject or str(c.san) for c in self.certificate]),
        ):
            if repeated := sorted(value for value, count in Counter(values).items() if count > 1):
                raise ValueError(f"{what} {repeated[0]} is there twice")
        return self

    @classmethod
    def read(cls, file: Path) -> Principals:
        """The file's callers. Raises UserError naming what is wrong with it."""
        try:
            return cls.model_validate(_toml(file))
        except ValidationError as error:
            raise UserError(f"{file}: {complaints(error, values=False)}") from error


def _toml(file: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(content(file, MAX_FILE_BYTES).decode())
    except (RecursionError, ValueError) as error:
        raise UserError(f"{file}: not TOML: {error}") from error
