"""Who calls: the bearer token of a call, else the client's certificate."""

from __future__ import annotations

from collections.abc import Mapping
from time import time
from typing import Any

import grpc

from server.security.certificates import Certificates
from server.security.roles import Principal
from server.security.settings import Security
from server.security.static_keys import PREFIX, StaticKeys
from server.security.web_tokens import Expected, WebTokens
from shoprank.errors import Unauthenticated

MAX_TOKEN_BYTES = 6_000
"""With the other headers it fits into the 8 KiB that gRPC always takes."""


class Authentication:
    """Says who calls. Raises UserError where a file it rests on is bad."""

    def __init__(self, security: Security) -> None:
        remembered = security.remembered_tokens
        self._keys = StaticKeys(security.principals, remembered) if security.principals else None
        self._tokens = None
        if security.jwks and security.issuer and security.audience:
            expected = Expected(
                security.issuer,
                security.audience,
                security.leeway_seconds,
                security.roles_claim,
                security.role_prefix,
            )
            self._tokens = WebTokens(security.jwks, expected, remembered)
        self._certificates = None
        if security.principals and security.client_ca:
            self._certificates = Certificates(security.principals, remembered)

    def principal(self, context: grpc.ServicerContext) -> Principal:
        """Who makes the call. Raises Unauthenticated where nobody known does; a bad token is never passed over."""
        token = bearer(context)
        if token is not None:
            return self.of_token(token, time())
        if self._certificates is not None:
            verified: Mapping[str, Any] = context.auth_context()  # of lists of bytes, whatever the stubs say
            if shown := verified.get("x509_pem_cert"):
                return self._certificates.principal(shown[0], time())
        raise Unauthenticated("no credentials; send `authorization: Bearer` with a key or a token")

    def of_token(self, token: str, now: float) -> Principal:
        """Whose key or token it is. Raises Unauthenticated."""
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated(f"the token has more than {MAX_TOKEN_BYTES:,} bytes")
        known = self._keys if token.startswith(PREFIX) else self._tokens
        if known is None:
            raise Unauthenticated("the token is of a kind that this server does not take")
        return known.principal(token, now)


def bearer(context: grpc.ServicerContext) -> str | None:
    """The token of the call's one `authorization` header, None without one. Raises Unauthenticated for others."""
    found: str | None = None
    for key, value in context.invocation_metadata() or ():
        if key != "authorization":
            continue
        if found is not None:
            raise Unauthenticated("more than one authorization header")
        scheme, _, token = (value if isinstance(value, str) else value.decode("latin-1")).partition(" ")
        found = token.strip()
        if scheme.lower() != "bearer" or not found:
            raise Unauthenticated("the authorization header is not `Bearer` and a token")
    return found
