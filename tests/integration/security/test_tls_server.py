"""TLS and mutual TLS of a real server; certificates that change under it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.app import Running
from shoprank import AsyncClient, Client, ServerError, UserError
from tests.certificates import Authority, Pair
from tests.integration.security.conftest import Start

SECONDS_OF_LOAD = 6.0


def ask(client: Client) -> None:
    with client:
        assert len(client.score("u1", ["i1", "i2"])) == 2


def refused(client: Client) -> str:
    with client, pytest.raises(ServerError) as error:
        client.score("u1", ["i1"])
    return error.value.code


def serial(address: str, root: Path) -> int:
    """Serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(root))
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname=host) as tls,
    ):
        certificate = tls.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def put(pair: Pair, place: Pair) -> None:
    """Rename the pair into place, certificate first, as a tool that renews certificates does."""
    for source, target in ((pair.certificate, place.certificate), (pair.key, place.key)):
        staged = target.with_suffix(".new")
        shutil.copy(source, staged)
        staged.replace(target)


def test_a_server_with_a_certificate_answers_over_tls_alone(
    serve: Start, authority: Authority, server_pair: Pair
) -> None:
    running = serve(certificate=server_pair.certificate, key=server_pair.key)
    ask(Client(running.address, 10, root_certificate=authority.file))
    assert refused(Client(running.address, 2)) == "UNAVAILABLE"

    async def asynchronously() -> int:
        async with AsyncClient(running.address, 10, root_certificate=authority.file) as client:
            return len(await client.score("u1", ["i1"]))

    assert asyncio.run(asynchronously()) == 1


def test_the_client_refuses_another_authority_and_another_host(
    serve: Start, authority: Authority, tmp_path: Path
) -> None:
    elsewhere = authority.issue("elsewhere", dns=("elsewhere.test",))
    running = serve(certificate=elsewhere.certificate, key=elsewhere.key)
    assert refused(Client(running.address, 2, root_certificate=authority.file)) == "UNAVAILABLE"
    stranger = Authority(tmp_path / "stranger")
    good = authority.issue("good", ip=("127.0.0.1",))
    running = serve(certificate=good.certificate, key=good.key)
    assert refused(Client(running.address, 2, root_certificate=stranger.file)) == "UNAVAILABLE"


def test_a_server_does_not_start_with_a_pair_it_cannot_serve_with(serve: Start, authority: Authority) -> None:
    old = authority.issue("old", ip=("127.0.0.1",), valid=timedelta(hours=-1))
    with pytest.raises(UserError, match="expired"):
        serve(certificate=old.certificate, key=old.key)


@pytest.fixture
def mutual(serve: Start, authority: Authority, server_pair: Pair, principals: Path) -> Running:
    """A server that wants client certificates and knows some."""
    principals.write_text(
        '[[certificate]]\nname = "by-uri"\nsan = "uri:spiffe://shop/web"\nroles = ["score"]\n'
        '[[certificate]]\nname = "by-subject"\nsubject = "CN=batch"\nroles = ["score"]\n'
        '[[certificate]]\nname = "no-score"\nsan = "dns:feedback.shop"\nroles = ["feedback"]\n'
    )
    tls = {"certificate": server_pair.certificate, "key": server_pair.key, "client_ca": authority.file}
    return serve(**tls, principals=principals)


def shows(running: Running, authority: Authority, pair: Pair) -> Client:
    """A client that shows this certificate."""
    return Client(running.address, 3, root_certificate=authority.file, certificate=pair.certificate, key=pair.key)


def test_a_known_client_certificate_is_its_holder(mutual: Running, authority: Authority) -> None:
    ask(shows(mutual, authority, authority.issue("any", uri=("spiffe://shop/web",))))
    ask(shows(mutual, authority, authority.issue("batch")))


def test_a_client_certificate_without_an_entry_or_the_role_is_refused(mutual: Running, authority: Authority) -> None:
    for pair, code in (
        (authority.issue("nobody", dns=("spiffe://shop/web", "batch")), "UNAUTHENTICATED"),
        (authority.issue("feedback", dns=("feedback.shop",)), "PERMISSION_DENIED"),
    ):
        assert refused(shows(mutual, authority, pair)) == code


CLIENTS: dict[str, Callable[[Authority, Path], Pair]] = {
    "expired": lambda a, _: a.issue("batch", valid=timedelta(hours=-1)),
    "signed by itself": lambda a, _: a.issue("batch", signed_by_itself=True),
    "of another authority": lambda _, folder: Authority(folder / "stranger").issue("batch"),
}


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_client_certificate_that_does_not_verify_gets_no_connection(
    mutual: Running, authority: Authority, tmp_path: Path, kind: str
) -> None:
    assert refused(shows(mutual, authority, CLIENTS[kind](authority, tmp_path))) == "UNAVAILABLE"


def test_no_client_certificate_gets_no_connection(mutual: Running, authority: Authority) -> None:
    assert refused(Client(mutual.address, 3, root_certificate=authority.file)) == "UNAVAILABLE"


def test_a_client_certificate_taken_out_of_the_file_is_refused_on_its_standing_connection(
    mutual: Running, authority: Authority, principals: Path
) -> None:
    with shows(mutual, authority, authority.issue("batch")) as client:
        assert client.score("u1", ["i1"])
        principals.write_text(principals.read_text().replace("CN=batch", "CN=other"))
        time.sleep(1.1)
        with pytest.raises(ServerError, match="UNAUTHENTICATED: the client certificate is not of a known caller"):
            client.score("u1", ["i1"])


def test_a_client_certificate_ends_at_its_time_on_a_standing_connection(mutual: Running, authority: Authority) -> None:
    with shows(mutual, authority, authority.issue("batch", valid=timedelta(seconds=4))) as client:
        assert client.score("u1", ["i1"])
        time.sleep(4.5)
        with pytest.raises(ServerError, match="UNAUTHENTICATED: the client certificate, or its entry, has expired"):
            client.score("u1", ["i1"])


def test_another_client_authority_is_taken_up_and_standing_connections_stay(
    mutual: Running, authority: Authority, tmp_path: Path
) -> None:
    later = Authority(tmp_path / "later", "later")
    with shows(mutual, authority, authority.issue("batch")) as standing:
        assert standing.score("u1", ["i1"])
        old, root = authority.issue("batch"), authority.file.read_bytes()
        (tmp_path / "root.pem").write_bytes(root)
        authority.file.write_bytes(later.file.read_bytes())
        new = later.issue("batch")
        known = tmp_path / "root.pem"
        ask(Client(mutual.address, 3, root_certificate=known, certificate=new.certificate, key=new.key))
        stale = Client(mutual.address, 3, root_certificate=known, certificate=old.certificate, key=old.key)
        assert refused(stale) == "UNAVAILABLE"
        assert standing.score("u1", ["i1"])


def test_a_broken_pair_is_logged_and_the_old_one_keeps_serving(
    serve: Start, authority: Authority, server_pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    running = serve(certificate=server_pair.certificate, key=server_pair.key)
    before = serial(running.address, authority.file)
    for spoil in (
        lambda: server_pair.certificate.write_text("no certificate"),
        lambda: put(Pair(authority.issue("a").certificate, authority.issue("b").key), server_pair),
        lambda: put(authority.issue("late", valid=timedelta(hours=-1)), server_pair),
        lambda: server_pair.key.unlink(),
    ):
        caplog.clear()
        spoil()
        ask(Client(running.address, 10, root_certificate=authority.file))
        assert serial(running.address, authority.file) == before
        assert "cannot be used, the former stays in force" in caplog.text
        assert "BEGIN" not in caplog.text
    put(authority.issue("next", ip=("127.0.0.1",)), server_pair)
    assert serial(running.address, authority.file) != before


def test_certificates_change_under_load_and_no_call_fails(
    serve: Start, authority: Authority, server_pair: Pair
) -> None:
    """Standing connections and new ones call all the while; pairs good and broken come and go."""
    running = serve(certificate=server_pair.certificate, key=server_pair.key)
    stop = threading.Event()
    failed: list[Exception] = []
    calls = [0, 0]

    def standing() -> None:
        with Client(running.address, 10, root_certificate=authority.file) as client:
            while not stop.is_set():
                try:
                    client.score("u1", ["i1"])
                    calls[0] += 1
                except Exception as error:
                    failed.append(error)

    def anew() -> None:
        while not stop.is_set():
            try:
                options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
                tls = grpc.ssl_channel_credentials(authority.file.read_bytes())
                with grpc.secure_channel(running.address, tls, options) as channel:
                    health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
                    calls[1] += 1
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=task) for task in (standing, standing, anew, anew)]
    for thread in threads:
        thread.start()
    seen = set()
    ends = time.monotonic() + SECONDS_OF_LOAD
    turn = 0
    while time.monotonic() < ends:
        turn += 1
        if turn % 3 == 0:
            server_pair.certificate.write_text("broken")
        else:
            put(authority.issue(f"pair-{turn}", ip=("127.0.0.1",)), server_pair)
        seen.add(serial(running.address, authority.file))
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not failed
    assert len(seen) > 5
    assert min(calls) > 20
