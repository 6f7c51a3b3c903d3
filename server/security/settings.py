"""The group `security` of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Security(BaseModel):
    """What protects the server; SHOPRANK_SECURITY__* in the environment. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    insecure: bool = Field(
        False, description="Listen beyond the loopback without encryption or without asking who calls."
    )
    certificate: Path | None = Field(None, description="PEM file of the server's certificate and its chain.")
    key: Path | None = Field(None, description="PEM file of the certificate's private key, not encrypted.")
    client_ca: Path | None = Field(
        None, description="PEM file of authorities; every client must then show a certificate one of them signed."
    )
    principals: Path | None = Field(None, description="TOML file of static keys, as hashes, and of known certificates.")
    jwks: Path | None = Field(None, description="JSON Web Key Set that bearer tokens are signed with; a file.")
    issuer: str | None = Field(None, min_length=1, description="`iss` of every token; needed with `jwks`.")
    audience: str | None = Field(None, min_length=1, description="In the `aud` of every token; needed with `jwks`.")
    leeway_seconds: float = Field(10.0, ge=0, le=300, description="How far clocks may differ in `exp`, `nbf`, `iat`.")
    roles_claim: str = Field(
        "roles", min_length=1, description="Claim of the roles: a list, or a text with spaces between, as `scope` is."
    )
    role_prefix: str = Field("", description="What stands before a role in that claim, such as `shoprank:`.")
    remembered_tokens: int = Field(10_000, ge=1, le=1_000_000, description="Tokens whose check is remembered, at most.")
    audit_file: Path | None = Field(None, description="File that audit lines are appended to; the log without it.")
    log_user_ids: bool = Field(False, description="Write user ids into logs as they are, and not as pseudonyms.")
    pseudonym_key: Path | None = Field(
        None, description="File of the key of the pseudonyms, 16 bytes or more; made anew at every start without it."
    )

    @property
    def authenticates(self) -> bool:
        """Whether callers must say who they are."""
        return self.jwks is not None or self.principals is not None

    @property
    def encrypts(self) -> bool:
        """Whether the server speaks TLS."""
        return self.certificate is not None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; set both or neither")
        if self.client_ca and not self.certificate:
            raise ValueError("client_ca needs certificate and key: client certificates are shown over TLS")
        if self.client_ca and not self.authenticates:
            raise ValueError("client_ca needs principals or jwks, which say what each client may do")
        if self.jwks and not (self.issuer and self.audience):
            raise ValueError("jwks needs issuer and audience")
        return self
