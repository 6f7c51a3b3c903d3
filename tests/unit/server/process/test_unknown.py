"""How many calls of unknown methods the core is asked for."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from grpc import _server as private

from server.process import bounds
from server.process.bounds import Allowance
from server.process.unknown import Unknown


class Core:
    """Stands in for the C core: `asked` are the tags of the calls that it was asked for. soon: how often it is to be
    asked again in a moment."""

    def __init__(self, per_second: float, most: int = 96) -> None:
        self.asked: list[Any] = []
        self.soon = 0
        self.state = SimpleNamespace(
            lock=threading.RLock(),
            due={private._REQUEST_CALL_TAG},
            rpc_states=set(),
            generic_handlers=(),
            interceptor_pipeline=None,
            thread_pool=None,
        )
        self.unknown = Unknown(self.state, self.asked.append, self._again, most, Allowance(per_second))

    def _again(self) -> None:
        self.soon += 1

    def comes(self, success: bool = True) -> Any:
        return self.asked.pop()(SimpleNamespace(success=success))


@pytest.fixture(autouse=True)
def refused(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls that grpcio refused, while no time passes."""
    calls: list[Any] = []

    def handled(event: Any, *_: Any) -> tuple[None, None]:
        calls.append(event)
        return None, None

    monkeypatch.setattr(private, "_handle_call", handled)
    monkeypatch.setattr(bounds, "monotonic", lambda: 0.0)
    return calls


def test_as_many_are_asked_for_as_may_be_answered_and_then_one_at_a_time(refused: list[Any]) -> None:
    core = Core(per_second=300, most=20)
    core.unknown.ask()
    assert len(core.asked) == 20
    core = Core(per_second=100)
    core.unknown.ask()
    assert len(core.asked) == 10
    for _ in range(12):
        core.comes()
    assert len(core.asked) == 1
    assert core.soon
    assert len(refused) == 12


def test_none_allowed_is_one_at_a_time(refused: list[Any]) -> None:
    core = Core(per_second=0)
    core.unknown.ask()
    for _ in range(5):
        assert len(core.asked) == 1
        core.comes()
    assert len(core.asked) == 1
    assert not core.soon
    assert len(refused) == 5


def test_the_server_may_stop_once_all_that_was_asked_for_has_ended() -> None:
    core = Core(per_second=100, most=3)
    core.unknown.ask()
    core.unknown.close()
    assert core.comes() == (None, ())
    assert core.comes(success=False) == (None, ())
    assert core.state.due
    assert core.comes(success=False) == (core.unknown, ())
    assert not core.state.due
    assert core.state.rpc_states == {core.unknown}
    assert not core.asked
