"""How a client reaches a server: in the clear or over TLS, and with which credentials."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import grpc.aio

from shoprank.errors import UserError

LOOPBACK = re.compile(
    r"(?:(?:dns:///|ipv4:)?(?:127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost)|(?:dns:///|ipv6:)?\[::1\])(?::\d+)?|unix:.+"
)
"""Targets that do not leave this machine."""

Token = str | Callable[[], str]
"""A static key or a bearer token; or what gives one, asked before every call, for tokens that are renewed."""
Options = Sequence[tuple[str, str | int]]
MAX_PORT = 65_535
MAX_SECONDS = 31_536_000.0
"""A year: gRPC takes a much longer time for one that is over."""
C = TypeVar("C", grpc.Channel, grpc.aio.Channel)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where and as whom to call.

    address: host:port or any gRPC target. root_certificate: PEM file of the authority that signed the server's
    certificate; without it and without `credentials` nothing is encrypted. certificate, key: PEM files that the client
    shows, for mutual TLS. token: sent with every call. credentials: gRPC's own, instead of the files. Raises UserError
    for an address that can be none, for half a pair, and for a token that would leave this machine in the clear.
    """

    address: str
    root_certificate: str | PathLike[str] | None = None
    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
    token: Token | None = field(default=None, repr=False)
    credentials: grpc.ChannelCredentials | None = None

    def __post_init__(self) -> None:
        check_address(self.address)
        if (self.certificate is None) != (self.key is None):
            raise UserError("certificate and key go together; give both or neither")
        if self.credentials is not None and (self.root_certificate or self.certificate):
            raise UserError("credentials: give either these or the files root_certificate, certificate and key")
        if self.certificate is not None and self.root_certificate is None:
            raise UserError("certificate: a client's certificate is shown over TLS; give root_certificate too")
        encrypted = self.credentials is not None or self.root_certificate is not None
        if self.token and not encrypted and not LOOPBACK.fullmatch(self.address):
            raise UserError(f"token: would go to {self.address} in the clear; give root_certificate, for TLS")

    def channel(self, options: Options) -> grpc.Channel:
        """A new channel. Raises UserError for a file that cannot be read."""
        tls = self._tls()
        return grpc.secure_channel(self.address, tls, options) if tls else grpc.insecure_channel(self.address, options)

    def aio_channel(self, options: Options) -> grpc.aio.Channel:
        """A new channel for asyncio. Raises UserError for a file that cannot be read."""
        tls = self._tls()
        if tls:
            return grpc.aio.secure_channel(self.address, tls, options)
        return grpc.aio.insecure_channel(self.address, options)

    def authorized(self, channel: C) -> C:
        """The channel, whose every call carries the token where there is one."""
        return cast(C, _Authorized(channel, self.token)) if self.token else channel

    def _tls(self) -> grpc.ChannelCredentials | None:
        if self.credentials is not None or self.root_certificate is None:
            return self.credentials
        return grpc.ssl_channel_credentials(_read(self.root_certificate), _read(self.key), _read(self.certificate))


class _Authorized:
    """Makes the calls that stubs ask a channel for, each with its token; gRPC's interceptors would cost more a call."""

    def __init__(self, channel: Any, token: Token) -> None:
        self._channel = channel
        self._token = token

    def unary_unary(self, *named: Any, **how: Any) -> Callable[..., Any]:
        return self._with_token(self._channel.unary_unary(*named, **how))

    def unary_stream(self, *named: Any, **how: Any) -> Callable[..., Any]:
        return self._with_token(self._channel.unary_stream(*named, **how))

    def stream_unary(self, *named: Any, **how: Any) -> Callable[..., Any]:
        return self._with_token(self._channel.stream_unary(*named, **how))

    def stream_stream(self, *named: Any, **how: Any) -> Callable[..., Any]:
        return self._with_token(self._channel.stream_stream(*named, **how))

    def _with_token(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def call(*request: Any, metadata: Sequence[tuple[str, str | bytes]] = (), **how: Any) -> Any:
            token = self._token() if callable(self._token) else self._token
            return make(*request, metadata=(*metadata, ("authorization", f"Bearer {token}")), **how)

        return call


def check_address(address: str) -> None:
    """Raise UserError for an empty address, for a web page's, and for a port that there is not: gRPC would take another
    for it."""
    if not address:
        raise UserError("address: is empty; give host:port")
    if web := re.match(r"https?://", address):
        raise UserError(f"address: {address}: is a web page's; give host:port, without {web[0]}")
    port = None if address.startswith("unix") else re.search(r":(\d+)$", address)
    if port and int(port[1]) > MAX_PORT:
        raise UserError(f"address: {address}: ports end at {MAX_PORT}")


def checked_seconds(timeout: float) -> float:
    """The seconds that a call may take. Raises UserError where they are no time that gRPC can wait."""
    if not isinstance(timeout, int | float) or not 0 < timeout <= MAX_SECONDS:
        raise UserError(f"timeout: is not above 0 and at most {MAX_SECONDS:.0f} seconds: {timeout!r:.80}")
    return timeout


class Timeouts:
    """How many seconds calls may take: what a call says, or else what its client says, or else what is usual.

    seconds: what the client says. Raises UserError where they are no time that gRPC can wait.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = None if seconds is None else checked_seconds(seconds)

    def of(self, call: float | None, usual: float) -> float:
        """For a call that says so much, or None, and usually takes so long at most. Raises UserError as above."""
        if call is not None:
            return checked_seconds(call)
        return usual if self._seconds is None else self._seconds


def _read(file: str | PathLike[str] | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
