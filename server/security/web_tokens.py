"""Bearer tokens: JSON Web Tokens (RFC 7519) signed with a key of a key set (RFC 7517) that lies in a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from server.security.reloaded import Reloaded, content
from server.security.remembered import Remembered
from server.security.roles import Principal, Role
from server.security.tls import MIN_RSA_BITS
from shoprank.errors import Unauthenticated, UserError

ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""Signatures that are accepted, by type and curve of the key. The key decides, never the token: RFC 8725, 3.1."""
PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
"""Parameters of private keys (RFC 7518): who checks signatures needs none."""
MAX_JWKS_BYTES = 1_000_000
MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say. leeway: seconds. roles_claim, role_prefix: where its roles stand."""

    issuer: str
    audience: str
    leeway: float = 0.0
    roles_claim: str = "roles"
    role_prefix: str = ""


class _State:
    """The keys of one state of the file."""

    def __init__(self, file: Path, remembered: int) -> None:
        self.keys = read_keys(file)
        self.remembered = Remembered(remembered)


class WebTokens:
    """Knows callers by their tokens; the key set is read again when it changes. Raises UserError where it is bad."""

    def __init__(self, file: Path, expected: Expected, remembered: int) -> None:
        self._expected = expected
        self._state = Reloaded([file], lambda: _State(file, remembered))

    def principal(self, token: str, now: float) -> Principal:
        """Whose token it is. now: seconds since 1970. Raises Unauthenticated saying what is wrong with the token."""
        state = self._state.value
        digest = hashlib.sha256(token.encode()).digest()
        if known := state.remembered.get(digest, now):
            return known
        kid = _kid(token)
        if kid not in state.keys:
            state = self._state.refreshed()
        key = state.keys.get(kid)
        if key is None:
            raise Unauthenticated("the token is signed with an unknown key")
        found = _principal(_claims(token, key, self._expected), self._expected)
        state.remembered.put(digest, found)
        return found


def read_keys(file: Path) -> dict[str, jwt.PyJWK]:
    """The keys of the set that may sign tokens, by `kid`.

    Keys of other types, curves, algorithms or uses are left out, as RFC 7517 wants it. Raises UserError for a file that
    is no key set, for a key without kid, for RSA below 2048 bits, and where no key is left.
    """
    try:
        entries = json.loads(content(file, MAX_JWKS_BYTES))["keys"]
        found: dict[str, jwt.PyJWK] = {}
        for entry in entries:
            algorithm = ALGORITHMS.get((entry["kty"], entry.get("crv")))
            if algorithm is None or entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
                continue
            if "verify" not in entry.get("key_ops", ("verify",)):
                continue
            kid = entry.get("kid")
            if not isinstance(kid, str) or not kid or kid in found:
                raise UserError(f"{file}: every key needs a kid of its own, found {kid!r}")
            key = jwt.PyJWK({name: value for name, value in entry.items() if name not in PRIVATE}, algorithm)
            if algorithm == "RS256" and key.key.key_size < MIN_RSA_BITS:
                raise UserError(f"{file}: key {kid} has {key.key.key_size} bits, at least {MIN_RSA_BITS} are needed")
            found[kid] = key
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, jwt.PyJWTError) as error:
        raise UserError(f"{file}: no JSON Web Key Set: {type(error).__name__}: {error!s:.200}") from error
    if not found:
        raise UserError(f"{file}: no key for {', '.join(ALGORITHMS.values())} in it")
    return found


def _kid(token: str) -> str:
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except (ValueError, RecursionError, jwt.PyJWTError) as error:
        raise Unauthenticated("the token is no JSON Web Token") from error
    if not isinstance(kid, str):
        raise Unauthenticated("the token names no key (kid)")
    return kid


def _claims(token: str, key: jwt.PyJWK, expected: Expected) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=expected.issuer,
            audience=expected.audience,
            leeway=expected.leeway,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated("the token has expired") from error
    except jwt.ImmatureSignatureError as error:
        raise Unauthenticated("the token is not valid yet") from error
    except jwt.InvalidAudienceError as error:
        raise Unauthenticated("the token is for another audience") from error
    except jwt.InvalidIssuerError as error:
        raise Unauthenticated("the token is of another issuer") from error
    except jwt.MissingRequiredClaimError as error:
        raise Unauthenticated(f"the token lacks the claim {error.claim}") from error
    except (ValueError, TypeError, OverflowError, RecursionError, jwt.PyJWTError) as error:
        raise Unauthenticated("the token is not signed as it should be, or malformed") from error
    return claims


def _principal(claims: dict[str, Any], expected: Expected) -> Principal:
    """The caller of verified claims. Roles that are not ours are passed over: a claim may hold those of others too."""
    subject = claims["sub"]
    if not subject or len(subject) > MAX_NAME:
        raise Unauthenticated(f"the token's sub is empty or longer than {MAX_NAME}")
    claim = claims.get(expected.roles_claim, [])
    said = claim.split() if isinstance(claim, str) else claim
    if not isinstance(said, list):
        raise Unauthenticated(f"the token's {expected.roles_claim} is neither a list nor a text")
    roles = frozenset(role for role in Role if expected.role_prefix + role in said)
    try:
        expires = float(claims["exp"]) + expected.leeway
    except OverflowError as error:
        raise Unauthenticated("the token's exp is no time") from error
    return Principal(f"token:{subject}", roles, expires)
