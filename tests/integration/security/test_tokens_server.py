"""Keys, tokens and roles at a real server."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from server.app import Running
from server.security.roles import Role
from shoprank import AsyncClient, Client, ServerError
from shoprank.connection import Connection
from shoprank.v1 import ranking_pb2, ranking_pb2_grpc
from tests.integration.security.conftest import Start
from tests.token_issuer import AUDIENCE, ISSUER, TokenIssuer


def score(running: Running, token: str | None = None) -> str:
    """Code of a call with this token."""
    with Client(running.address, 10, token=token) as client:
        try:
            assert len(client.score("u1", ["i1", "i2"])) == 2
        except ServerError as error:
            return f"{error.code} {error}"
    return "OK"


def raw(running: Running, *metadata: tuple[str, str | bytes]) -> grpc.StatusCode:
    """Code of a call with these headers."""
    with grpc.insecure_channel(running.address) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        request = ranking_pb2.ScoreItemsRequest(user_id="u1", item_ids=["i1"])
        asking = stub.ScoreItems.future(request, metadata=metadata, timeout=10)
        asking.exception()
        return asking.code()


def test_a_key_or_a_token_of_the_role_may_ask(guarded: Running, keys: dict[Role, str], issuer: TokenIssuer) -> None:
    assert score(guarded, keys[Role.score]) == "OK"
    for kid in ("rsa", "ec", "ed"):
        assert score(guarded, issuer.token(kid)) == "OK"

    async def asynchronously(token: str) -> int:
        async with AsyncClient(guarded.address, 10, token=lambda: token) as client:
            return len(await client.rank("u1", ["i1"]))

    assert asyncio.run(asynchronously(issuer.token())) == 1


def test_without_credentials_nothing_but_health_answers(guarded: Running) -> None:
    assert score(guarded).startswith("UNAUTHENTICATED")
    with grpc.insecure_channel(guarded.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as error:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_caller_without_the_role_is_denied(guarded: Running, keys: dict[Role, str], issuer: TokenIssuer) -> None:
    for token in (keys[Role.feedback], keys[Role.admin], issuer.token(roles=["other"]), issuer.token(roles=None)):
        assert score(guarded, token).startswith("PERMISSION_DENIED")
    assert "needs the role score, which key:may-admin has not" in score(guarded, keys[Role.admin])


def test_reflection_is_for_the_role_admin(guarded: Running, keys: dict[Role, str]) -> None:
    def services(token: str) -> list[str]:
        with grpc.insecure_channel(guarded.address) as channel:
            authorized = Connection(guarded.address, token=token).authorized(channel)
            return list(ProtoReflectionDescriptorDatabase(authorized).get_services())

    assert "shoprank.v1.RankingService" in services(keys[Role.admin])
    with pytest.raises(grpc.RpcError) as error:
        services(keys[Role.score])
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_bad_tokens_are_refused_with_the_reason(guarded: Running, issuer: TokenIssuer, keys: dict[Role, str]) -> None:
    for token, reason in (
        (issuer.token(exp=int(time.time()) - 60), "expired"),
        (issuer.token(aud="other"), "another audience"),
        (issuer.token(iss="other"), "another issuer"),
        (issuer.token(headers={"kid": "ghost"}), "unknown key"),
        ("garbled", "no JSON Web Token"),
        (keys[Role.score] + "x", "key is not known"),
        ("srk_", "key is not known"),
        ("x" * 7_000, "more than 6,000 bytes"),
    ):
        answer = score(guarded, token)
        assert answer.startswith("UNAUTHENTICATED")
        assert reason in answer


def test_headers_that_are_no_bearer_token_are_refused(guarded: Running, keys: dict[Role, str]) -> None:
    key = keys[Role.score]
    assert raw(guarded, ("authorization", f"bearer  {key}")) is grpc.StatusCode.OK
    for headers in (
        [("authorization", key)],
        [("authorization", f"Basic {key}")],
        [("authorization", "Bearer ")],
        [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}")],
        [("authorization", f"Bearer {key}, Bearer {key}")],
        [("x-authorization", f"Bearer {key}")],
    ):
        assert raw(guarded, *headers) is grpc.StatusCode.UNAUTHENTICATED, headers


def test_headers_beyond_what_grpc_takes_do_no_harm(guarded: Running, keys: dict[Role, str]) -> None:
    code = raw(guarded, ("authorization", "Bearer " + "x" * 60_000))
    assert code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAUTHENTICATED}
    assert score(guarded, keys[Role.score]) == "OK"


def test_a_revoked_key_is_refused_on_its_standing_connection(
    guarded: Running, keys: dict[Role, str], principals: Path
) -> None:
    with Client(guarded.address, 10, token=keys[Role.score]) as client:
        for _ in range(3):
            client.score("u1", ["i1"])
        entries = principals.read_text().split("\n\n")
        principals.write_text("\n\n".join(e for e in entries if "may-score" not in e))
        time.sleep(1.1)
        with pytest.raises(ServerError, match="UNAUTHENTICATED: the key is not known"):
            client.score("u1", ["i1"])


def test_a_remembered_token_is_refused_once_it_expires(serve: Start, issuer: TokenIssuer) -> None:
    running = serve(jwks=issuer.file, issuer=ISSUER, audience=AUDIENCE, leeway_seconds=0)
    with Client(running.address, 10, token=issuer.token(exp=int(time.time()) + 3)) as client:
        client.score("u1", ["i1"])
        client.score("u1", ["i1"])
        time.sleep(3.1)
        with pytest.raises(ServerError, match="UNAUTHENTICATED: the token has expired"):
            client.score("u1", ["i1"])


def test_without_authentication_the_loopback_is_open(serve: Start) -> None:
    assert score(serve()) == "OK"
