"""Certificates that a server refuses to serve with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from server.security.tls import configuration
from shoprank.errors import UserError
from tests.certificates import Authority


def test_what_cannot_be_served_with_is_refused_with_the_reason(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    old = authority.issue("old", valid=timedelta(seconds=-1))
    junk = tmp_path / "junk"
    junk.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    configuration(one.certificate, one.key, authority.file)
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
            configuration(certificate, key, ca)
