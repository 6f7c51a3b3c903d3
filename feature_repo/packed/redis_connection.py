"""From a connection string to a client of Redis."""

from __future__ import annotations

import json
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.retry import Retry

from shoprank.errors import UserError


def connect(connection: str, kind: str, timeout: float) -> Any:
    """A client of redis-py for a single server or a cluster. Raises UserError where the string is of neither form.

    connection: a URL, or Feast's `host:port,key=value`. timeout: seconds that an answer may take.
    """
    # One new try repairs a connection that the server closed meanwhile; more would hide that it is away.
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 1, (redis.ConnectionError,)),
    }
    if "://" in connection:
        _refuse_other_urls(connection)
        if kind == "redis_cluster":
            return RedisCluster.from_url(connection, **options)
        return redis.Redis.from_url(connection, **options)
    nodes, given = _feast_form(connection)
    options |= given
    if kind == "redis_cluster":
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in nodes],
            **options,
        )
    return redis.Redis(host=nodes[0][0], port=nodes[0][1], **options)


def _refuse_other_urls(url: str) -> None:
    """Raises UserError, without a word of the URL, which may hold a password."""
    try:
        parse_url(url)
    except ValueError as error:
        raise UserError(
            "connection_string: is no redis://, rediss:// or unix:// URL; is a reserved character of its password not "
            "percent-encoded?"
        ) from error


def _feast_form(connection: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Hosts and options of `host:port,host:port,key=value`. Raises UserError where it is not of that form."""
    nodes: list[tuple[str, int]] = []
    options: dict[str, Any] = {}
    for part in connection.split(","):
        name, equals, value = part.partition("=")
        if equals:
            options[name] = value if name in ("username", "password") else _parsed(value)
            continue
        host, colon, port = part.rpartition(":")
        if not colon or not port.isdigit():
            raise UserError(f"connection_string: {part!r} is neither host:port nor key=value")
        nodes.append((host, int(port)))
    if not nodes:
        raise UserError("connection_string: names no host:port")
    return nodes, options


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def without_secrets(connection: str) -> str:
    """The servers of a connection string, without user, password and options."""
    if "://" in connection:
        scheme, _, rest = connection.partition("?")[0].partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"
    return ",".join(p for p in connection.split(",") if "=" not in p)
