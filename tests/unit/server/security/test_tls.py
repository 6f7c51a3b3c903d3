"""Certificates that a server refuses to serve with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from server.security.tls import read
from shoprank.errors import UserError
from tests.certificates import Authority


def test_what_cannot_be_served_with_is_refused_with_the_reason(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    old = authority.issue("old", valid=timedelta(seconds=-1))
    junk = tmp_path / "junk"
    junk.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    read(one.certificate, one.key, authority.file)
    for certificate, key, ca, reason in (
        (one.certificate, other.key, None, "other.key: is not the key of .*one.pem"),
        (old.certificate, old.key, None, "old.pem: expired at"),
        (junk, one.key, None, "junk: no PEM certificates"),
        (one.certificate, junk, None, "junk: no PEM private key"),
        (one.certificate, one.certificate, None, "one.pem: no PEM private key"),
        (one.certificate, one.key, junk, "junk: no PEM certificates"),
        (tmp_path / "none", one.key, None, "none: cannot be read: No such file"),
    ):
        with pytest.raises(UserError, match=reason):
            read(certificate, key, ca)


@pytest.mark.parametrize(
    "key",
    [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1()),
     ec.generate_private_key(ec.BrainpoolP256R1()), rsa.generate_private_key(65537, 1024)],
    ids=["ed25519", "p-521", "brainpool", "rsa-1024"],
)  # fmt: skip
def test_a_key_that_grpc_does_not_serve_is_refused(tmp_path: Path, key: Any) -> None:
    pair = Authority(tmp_path).issue("odd", key=key)
    with pytest.raises(UserError, match=r"odd\.pem: is served with RSA keys of 2048 bits or more, P-256"):
        read(pair.certificate, pair.key, None)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_usual_keys_are_served(tmp_path: Path, key: Any) -> None:
    pair = Authority(tmp_path).issue("usual", key=key)
    assert read(pair.certificate, pair.key, None)


def test_a_certificate_whose_time_has_not_come_is_refused(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("early", since=timedelta(hours=1))
    with pytest.raises(UserError, match=r"early\.pem: not valid before"):
        read(pair.certificate, pair.key, None)
