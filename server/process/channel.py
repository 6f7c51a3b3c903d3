"""Limits as channel arguments of gRPC's C core.

Their names and meaning: https://grpc.github.io/grpc/core/group__grpc__arg__keys.html
"""

from __future__ import annotations

from server.process.settings import Limits

Option = tuple[str, int]


def options(limits: Limits, shared_port: bool) -> list[Option]:
    """Arguments of a server. shared_port: whether other processes listen on the same port."""
    return [
        ("grpc.so_reuseport", int(shared_port)),
        *_sizes(limits),
        *(waiting(limits.pending) if limits.gate else ()),
        *_connections(limits),
        *_pings(limits),
    ]


def _sizes(limits: Limits) -> list[Option]:
    return [
        ("grpc.max_receive_message_length", limits.request_bytes),
        ("grpc.max_send_message_length", limits.reply_bytes),
        # Between the two, calls would be refused at random; here every size up to the limit is taken.
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
    ]


def waiting(pending: int) -> list[Option]:
    """So many calls of a method wait in the C core: it ends those above the bound at once, with CANCELLED.

    With a bound of 0 it keeps one all the same. That has 0 seconds to wait: it is ended too, when the next call comes
    or is asked for, and not answered before those that came later.
    """
    return [
        ("grpc.server.max_pending_requests", pending),
        ("grpc.server.max_pending_requests_hard_limit", pending),
        *(() if pending else (("grpc.server_max_unrequested_time_in_server", 0),)),
    ]


def _connections(limits: Limits) -> list[Option]:
    """Ages have a jitter of a tenth, so that connections made together do not end together."""
    ages = [
        ("grpc.max_connection_age_ms", limits.connection_age_seconds),
        ("grpc.max_connection_age_grace_ms", limits.connection_grace_seconds),
        ("grpc.max_connection_idle_ms", limits.connection_idle_seconds),
        ("grpc.server_handshake_timeout_ms", limits.handshake_seconds),
        ("grpc.http2.settings_timeout", limits.handshake_seconds),
    ]
    return [
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", limits.streams),
        *((name, int(seconds * 1e3)) for name, seconds in ages if seconds),
    ]


def _pings(limits: Limits) -> list[Option]:
    """The server's own pings find connections whose other end has gone; clients that ping too often are cut off."""
    return [
        ("grpc.keepalive_time_ms", int(limits.keepalive_seconds * 1e3)),
        ("grpc.keepalive_timeout_ms", int(limits.keepalive_timeout_seconds * 1e3)),
        ("grpc.http2.ping_timeout_ms", int(limits.keepalive_timeout_seconds * 1e3)),  # a minute at least without it
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", int(limits.ping_seconds * 1e3)),
        ("grpc.http2.max_ping_strikes", limits.ping_strikes),
    ]
