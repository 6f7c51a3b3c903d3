"""The `health` command: whether a server says that it serves, for probes of containers and for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoprank.cli.app import app
from shoprank.client import DEFAULT_ADDRESS
from shoprank.connection import check_address, checked_seconds
from shoprank.errors import ShoprankError

if TYPE_CHECKING:
    import grpc


@app.command()
def health(
    address: Annotated[str, typer.Option(envvar="SHOPRANK_ADDRESS", help="host:port of the server.")] = DEFAULT_ADDRESS,
    service: Annotated[str, typer.Option(help="Full name of one service; the whole server without it.")] = "",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait.")] = 2.0,
    root_certificate: Annotated[
        Path | None,
        typer.Option(envvar="SHOPRANK_ROOT_CERTIFICATE", help="Authority of its certificate (PEM): speak TLS."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(envvar="SHOPRANK_CERTIFICATE", help="Client certificate to show it (PEM).")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", envvar="SHOPRANK_KEY", help="Private key of --certificate (PEM).")
    ] = None,
    server_name: Annotated[
        str | None, typer.Option(help="Name in its certificate, where it is asked by another, such as 127.0.0.1.")
    ] = None,
) -> None:
    """Ask a server whether it serves. Exit code 0 for SERVING, 1 for anything else, 2 where it cannot be asked so."""
    check_address(address)
    checked_seconds(timeout)
    status = ask(address, service, timeout, _credentials(root_certificate, certificate, key), server_name)
    if status != "SERVING":
        raise ShoprankError(f"{address}: {status}")
    print(f"health: {status} on {address}")


def ask(
    address: str,
    service: str,
    timeout: float,
    credentials: grpc.ChannelCredentials | None = None,
    server_name: str | None = None,
) -> str:
    """The status of the service by gRPC's health checking protocol, or the code that the call ended with."""
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    options = [("grpc.ssl_target_name_override", server_name)] if server_name else []
    channel = (
        grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
    )
    with channel:
        try:
            reply = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=timeout)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(HealthCheckResponse.ServingStatus.Name(reply.status))


def _credentials(root: Path | None, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials | None:
    if (certificate is None) != (key is None) or (certificate and root is None):
        raise typer.BadParameter("--certificate needs --key and --root-certificate")
    if root is None:
        return None
    import grpc

    return grpc.ssl_channel_credentials(
        root.read_bytes(), key.read_bytes() if key else None, certificate.read_bytes() if certificate else None
    )
