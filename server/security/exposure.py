"""Whether the server may listen where it is told to, as protected as it is."""

from __future__ import annotations

import ipaddress
import logging

from server.security.settings import Security
from shoprank.errors import UserError

log = logging.getLogger(__name__)


def refuse_exposed(host: str, security: Security) -> None:
    """Raise UserError where the host is beyond the loopback and the server would be open to whoever reaches it."""
    if is_loopback(host):
        return
    for protected, what, instead in (
        (
            security.encrypts,
            "without encryption",
            "set SHOPRANK_SECURITY__CERTIFICATE and SHOPRANK_SECURITY__KEY",
        ),
        (
            security.authenticates,
            "without asking who calls",
            "set SHOPRANK_SECURITY__PRINCIPALS (see `shoprank keys new`) or SHOPRANK_SECURITY__JWKS",
        ),
    ):
        if protected:
            continue
        if not security.insecure:
            raise UserError(
                f"host {host}: would serve beyond this machine {what}; {instead}, listen on 127.0.0.1, or accept it "
                "with --insecure"
            )
        log.warning("serving on %s %s, as told by --insecure or SHOPRANK_SECURITY__INSECURE", host, what)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host: an address of the loopback, or `localhost`."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host == "localhost"
