"""The table of roles and what is really served."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

from server.app import Running
from server.methods import Method
from server.security.roles import Role, is_known, required
from server.security.settings import Security
from tests.integration.security.admin_service import call, serving


def registered(running: Running) -> set[Method]:
    """Every method that the server answers."""
    found = set()
    for handler in running._server._state.generic_handlers:  # type: ignore[attr-defined]  # gRPC has no other way
        for path, method in handler._method_handlers.items():
            service, _, name = path.lstrip("/").partition("/")
            found.add(Method(path, service, name, method.request_streaming, method.response_streaming, Message))
    return found


def test_every_method_that_is_served_has_an_entry(server: Running) -> None:
    methods = registered(server)
    assert len(methods) >= 6
    assert [m.path for m in methods if not is_known(m)] == []


def test_only_health_is_open_to_all(server: Running) -> None:
    opened = {m.service for m in registered(server) if required(m) is None}
    assert opened <= {"grpc.health.v1.Health", "inference.GRPCInferenceService"}
    assert "grpc.health.v1.Health" in opened


@pytest.mark.parametrize("authenticated", [True, False])
def test_a_method_without_an_entry_is_refused_whoever_asks(
    keys: dict[Role, str], principals: Path, authenticated: bool
) -> None:
    with serving(Security(principals=principals if authenticated else None), "ForgottenService") as address:
        for token in (None, *keys.values()):
            code = call(address, "shoprank.v1.ForgottenService/Load", token)
            assert code in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}


def test_the_admin_service_is_for_the_role_admin(keys: dict[Role, str], principals: Path) -> None:
    with serving(Security(principals=principals)) as address:
        codes = {role: call(address, "shoprank.v1.ModelService/Load", keys[role]) for role in Role}
    assert codes == {
        Role.score: grpc.StatusCode.PERMISSION_DENIED,
        Role.feedback: grpc.StatusCode.PERMISSION_DENIED,
        Role.admin: grpc.StatusCode.OK,
    }
