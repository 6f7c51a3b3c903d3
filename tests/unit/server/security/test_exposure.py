"""Where a server may listen, as protected as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from server import settings
from server.security.exposure import is_loopback, refuse_exposed
from server.security.settings import Security
from shoprank.errors import UserError

FILE = Path("file")
TLS = {"certificate": FILE, "key": FILE}
TOKENS = {"principals": FILE}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_on_the_loopback_nothing_is_asked_for(host: str) -> None:
    assert is_loopback(host)
    refuse_exposed(host, Security())


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "[::]", "", "10.0.0.1", "shop.internal", "127.0.0.1.shop", "2130706433"]
)
def test_beyond_it_encryption_and_authentication_are(host: str) -> None:
    with pytest.raises(UserError, match=r"without encryption; set SHOPRANK_SECURITY__CERTIFICATE.*--insecure"):
        refuse_exposed(host, Security(**TOKENS))
    with pytest.raises(UserError, match=r"without asking who calls; set SHOPRANK_SECURITY__PRINCIPALS.*--insecure"):
        refuse_exposed(host, Security(**TLS))
    refuse_exposed(host, Security(**TLS, **TOKENS))


def test_the_flag_allows_it_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    refuse_exposed("0.0.0.0", Security(insecure=True))
    assert "without encryption" in caplog.text
    assert "without asking who calls" in caplog.text


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"certificate": FILE}, "go together"),
        ({"client_ca": FILE}, "client_ca needs certificate"),
        ({**TLS, "client_ca": FILE}, "client_ca needs principals or jwks"),
        ({"jwks": FILE, "issuer": "x"}, "jwks needs issuer and audience"),
        ({"tls": True}, "tls"),
    ],
)
def test_settings_that_do_not_make_a_whole_are_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        settings.load(security=given)


def test_the_environment_and_the_flag_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPRANK_SECURITY__PRINCIPALS", "file")
    monkeypatch.setenv("SHOPRANK_TOKEN", "x")
    security = settings.load(security={"insecure": True}).security
    assert (security.insecure, security.principals) == (True, FILE)
