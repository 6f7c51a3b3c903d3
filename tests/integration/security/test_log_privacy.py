"""No user id is in the log, at any level, whatever goes wrong."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from server.app import Running
from server.security.settings import Security
from shoprank import Client, ShoprankError
from shoprank.errors import FeatureStoreError
from tests.integration.security.admin_service import call, serving
from tests.integration.security.conftest import Start

USERS = ["alice@shop.test", "+49 170 1234567", "kunde-äöü", "x" * 300, 'a"b\\c\nd', "u1234567"]


class Everything(logging.Handler):
    """Keeps every record as it would be printed."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def everything() -> Iterator[Everything]:
    handler, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.NOTSET)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def ask_everything(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good requests, bad ones, and such that fail in every way, of every user."""
    rank = running.ranker.rank

    def raising(error: Exception) -> Any:
        def fail(query: Any, *more: Any) -> Any:
            logging.getLogger("some.library").debug("asked for %r", query)
            raise error

        return fail

    with Client(running.address, 10) as client:
        for user in USERS:
            failures: list[Exception | None] = [
                None, KeyError(user), ValueError(f"no row of {user}"), FeatureStoreError(f"away, asked for {user}")
            ]  # fmt: skip
            for failure in failures:
                monkeypatch.setattr(running.ranker, "rank", raising(failure) if failure else rank)
                for arguments in ({}, {"top_k": 2}, {"top_k": 10**6}, {"temperature": -1.0}):
                    with contextlib.suppress(ShoprankError):
                        client.rank(user, ["i1", "i2", user[:200]], **arguments)
                    with contextlib.suppress(ShoprankError):
                        client.rank(user, ["i1"], timeout=0.001)
    time.sleep(0.3)


def raw(user: str) -> set[str]:
    """The ways in which an id could stand in a log."""
    return {user, repr(user)[1:-1], ascii(user)[1:-1], repr(user.encode())[2:-1]}


def test_no_user_id_is_in_the_log_at_any_level(
    serve: Start, everything: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = serve()
    ask_everything(running, monkeypatch)
    assert any("RankItems failed" in line and "Traceback" in line for line in everything.lines)
    assert any("UNAVAILABLE" in line or "away, asked for u_" in line for line in everything.lines)
    assert any("some.library" in line for line in everything.lines)
    for line in everything.lines:
        assert not any(form in line for user in USERS for form in raw(user)), line


def test_the_setting_shows_them(serve: Start, everything: Everything, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_everything(serve(log_user_ids=True), monkeypatch)
    assert any(USERS[0] in line for line in everything.lines)


def test_a_streaming_call_is_no_exception(everything: Everything) -> None:
    with serving(Security()) as address:
        for method in ("Load", "Watch"):
            call(address, f"shoprank.v1.ModelService/{method}", None, model="defect", user_id="alice@shop.test")
        time.sleep(0.2)
    assert any("Watch failed" in line for line in everything.lines)
    assert not any("alice" in line for line in everything.lines)
