"""What a thread hears of between two pieces of work, from a completion queue that a test fills."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

from grpc import _server as private
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from server.process.events import AT_ONCE, Events

SILENCE = SimpleNamespace(completion_type=cygrpc.CompletionType.queue_timeout)


class Tag:
    """What an event is told to."""

    def __init__(self) -> None:
        self.told = 0

    def __call__(self, event: Any) -> Any:
        self.told += 1
        return None, ()


class Queue:
    """Hands over what it was given, then silence. polls: how it was asked."""

    def __init__(self, given: list[Any]) -> None:
        self.given = deque(given)
        self.polls: list[float] = []

    def poll(self, deadline: float) -> Any:
        self.polls.append(deadline)
        return self.given.popleft() if self.given else SILENCE


def heard(given: list[Any], wait: bool, awake: float = 0.0) -> Queue:
    queue = Queue(given)
    state = SimpleNamespace(completion_queue=queue, stage=private._ServerStage.STARTED)
    assert Events(state, Tag, lambda: False, lambda: None, lambda: None, awake)._hear(wait=wait)
    return queue


def event(tag: Tag) -> Any:
    return SimpleNamespace(completion_type=cygrpc.CompletionType.operation_complete, tag=tag)


def test_connections_are_looked_at_even_if_the_core_was_woken_before() -> None:
    """The core answers a poll at once, without a look at its connections, where a thread has sent something since."""
    tag = Tag()
    queue = heard([event(tag), SILENCE, event(tag), SILENCE, event(tag)], wait=False)
    assert tag.told == 3
    assert queue.polls == [0.0] * 7  # two silent ones end it


def test_no_more_is_heard_at_once_than_may_be_and_nothing_is_lost() -> None:
    tag = Tag()
    queue = heard([event(tag)] * (AT_ONCE + 3), wait=False)
    assert tag.told == AT_ONCE
    assert len(queue.given) == 3


def test_a_thread_with_nothing_to_do_sleeps_until_an_event() -> None:
    tag = Tag()
    queue = heard([SILENCE, SILENCE, event(tag)], wait=True)
    assert tag.told == 1
    assert queue.polls[:2] == [0.0, 0.0]
    assert queue.polls[2] > 1e9  # a time of the wall clock
    assert queue.polls[3:] == [0.0, 0.0]
