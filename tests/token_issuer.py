"""An issuer of bearer tokens of a test's own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://issuer.test", "shoprank"


class TokenIssuer:
    """Signs tokens; its public keys are in the key set `file`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.keys: dict[str, Any] = {}
        self._jwks: dict[str, dict[str, Any]] = {}
        self.add("rsa", rsa.generate_private_key(65537, 2048))
        self.add("ec", ec.generate_private_key(ec.SECP256R1()))
        self.add("ed", ed25519.Ed25519PrivateKey.generate())
        self.publish()

    def add(self, kid: str, key: Any) -> None:
        """Sign with this key too; its public half is in the file once published."""
        kind: Any = {"rsa": RSAAlgorithm, "ec": ECAlgorithm, "ed": OKPAlgorithm}[kid.partition("-")[0]]
        self.keys[kid] = key
        self._jwks[kid] = {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid}

    def remove(self, kid: str) -> None:
        """Let the file no longer have the key, once published."""
        del self._jwks[kid]

    def publish(self) -> None:
        """Write the key set."""
        staged = self.file.with_suffix(".new")
        staged.write_text(json.dumps({"keys": list(self._jwks.values())}))
        staged.replace(self.file)

    def token(self, kid: str = "rsa", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token of the role score, valid for a minute; claims given are put over these, None takes one away."""
        algorithm = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}[kid.partition("-")[0]]
        said = {k: v for k, v in (self.claims() | claims).items() if v is not None}
        return jwt.encode(said, self.keys[kid], algorithm, headers={"kid": kid, **(headers or {})})

    @staticmethod
    def claims() -> dict[str, Any]:
        """The claims of a good token."""
        return {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "shop-web",
            "exp": int(time.time()) + 60,
            "roles": ["score", "of another application"],
        }
