"""A port that several worker processes listen on together."""

from __future__ import annotations

import socket

from shoprank.errors import UserError


def authority(host: str, port: int) -> str:
    """The address as a URL has it: an address of IPv6 in brackets, with which it may be given."""
    return f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"


def reserve(host: str, port: int) -> socket.socket:
    """A socket bound to the address, for others to listen beside with SO_REUSEPORT; port 0 takes a free one.

    It does not listen, so the kernel hands no connection to it; it keeps the port while workers come and go.
    Raises UserError where the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # SO_REUSEPORT would share the port with another server of the same user without a word.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            port = probe.getsockname()[1]
        held = socket.socket(family, kind, protocol)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((address[0], port, *address[2:]))
    except socket.gaierror as error:
        raise UserError(f"host {host}: no such address: {error.strerror}") from error
    except OSError as error:
        raise UserError(
            f"{authority(host, port)}: cannot listen there; is the port taken? choose another with --port"
        ) from error
    return held
