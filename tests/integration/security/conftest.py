"""Servers of the shop with a security of the test's own, on the loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.app import Running, start
from server.security.roles import Role
from server.security.settings import Security
from server.security.static_keys import new_key
from tests.certificates import Authority, Pair
from tests.conftest import Shop, settings
from tests.token_issuer import AUDIENCE, ISSUER, TokenIssuer

Start = Callable[..., Running]


@pytest.fixture
def serve(trained: Shop) -> Iterator[Start]:
    """Starts servers with the security settings given, and stops them."""
    started: list[Running] = []

    def begin(**security: Any) -> Running:
        more = {"clock": "snapshot", "grace_seconds": 1, "security": Security(**security)}
        started.append(start(settings(trained.paths.root, trained.models, **more)))
        return started[-1]

    yield begin
    for running in started:
        running.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def server_pair(authority: Authority) -> Pair:
    return authority.issue("server", ip=("127.0.0.1",), dns=("localhost",))


@pytest.fixture
def issuer(tmp_path: Path) -> TokenIssuer:
    return TokenIssuer(tmp_path / "jwks.json")


@pytest.fixture
def principals(tmp_path: Path) -> Path:
    return tmp_path / "principals.toml"


@pytest.fixture
def keys(principals: Path) -> dict[Role, str]:
    """A static key of each role, in the file of principals."""
    return {role: new_key(principals, f"may-{role}", [role], None) for role in Role}


@pytest.fixture
def guarded(serve: Start, keys: dict[Role, str], principals: Path, issuer: TokenIssuer, tmp_path: Path) -> Running:
    """A server that takes keys and tokens, with its audit in `audit.jsonl`."""
    audit = tmp_path / "audit.jsonl"
    return serve(principals=principals, jwks=issuer.file, issuer=ISSUER, audience=AUDIENCE, audit_file=audit)
