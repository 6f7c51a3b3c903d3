"""Calls that wait at the same time, answered by one thread side by side: what they have in common is done once.

Each call is answered in a greenlet of its own, by code that knows nothing of the others. Where it comes to work that
takes hardly longer for several calls than for one, it asks for that by `together`, and pauses; once all have come to
such a place or to their end, the work is done for all of them and each goes on with its own result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import local
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from server.process.turn import step_aside

A = TypeVar("A")
R = TypeVar("R")
Work = Callable[[Sequence[Any]], Sequence[Any]]
"""Gives as many results as it is given arguments, in their order."""


class _Member(greenlet):
    """Answers one of the calls that a thread answers side by side, and later others, each when switched to with it.

    Switches back with a `_Pause`, or None once the call has ended. It is kept for the next: the interpreter maps memory
    for a greenlet that begins, and gives it back at its end, which costs as much as a twentieth of a call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.switch()  # up to the first call; what it were begun with it would hold for good

    def run(self) -> None:
        assert self.parent is not None
        while True:
            call = self.parent.switch(None)
            call()
            del call  # it holds its request


class _Members(local):
    """The thread's members that have no call."""

    def __init__(self) -> None:
        self.idle: list[_Member] = []


_members = _Members()


class _Pause:
    """What a call waits for."""

    __slots__ = ("argument", "long", "work")

    def __init__(self, work: Work, argument: Any, long: bool) -> None:
        self.work = work
        self.argument = argument
        self.long = long


def together(work: Callable[[Sequence[A]], Sequence[R]], argument: A) -> R:
    """The result of `work` for this argument; done for those of other calls too, where this thread answers several.

    Where the work raises for several, it is asked for each alone, so that no call fails for another.
    """
    return _result(work, argument, long=False)


def apart(work: Callable[[Sequence[A]], Sequence[R]], argument: A) -> R:
    """The result of work that takes long: other calls go first, and other threads hear of new ones meanwhile."""
    return _result(work, argument, long=True)


def _result(work: Callable[[Sequence[A]], Sequence[R]], argument: A, long: bool) -> R:
    here = getcurrent()
    if isinstance(here, _Member) and here.parent is not None:
        result: R = here.parent.switch(_Pause(work, argument, long))
        return result
    if long:
        step_aside()
    return work((argument,))[0]


def side_by_side(calls: Sequence[Callable[[], None]]) -> None:
    """Answer the calls; see the module. A call must not raise: what one raises is raised here, in the way of others."""
    idle = _members.idle
    members = [idle.pop() if idle else _Member() for _ in calls]
    paused = _resumed([(member, (call,)) for member, call in zip(members, calls, strict=True)])
    while paused:
        soon = [(member, pause) for member, pause in paused if not pause.long]
        if soon:
            late = [(member, pause) for member, pause in paused if pause.long]
        else:
            step_aside()
            soon, late = paused[:1], paused[1:]
        works: dict[Work, list[tuple[_Member, Any]]] = {}
        for member, pause in soon:
            works.setdefault(pause.work, []).append((member, pause.argument))
        paused = late + _resumed(
            [
                (member, result)
                for work, members in works.items()
                for (member, _), result in zip(
                    members, _results(work, [argument for _, argument in members]), strict=True
                )
            ]
        )
    idle += members


def _resumed(members: Sequence[tuple[_Member, tuple[Any, ...] | Exception]]) -> list[tuple[_Member, _Pause]]:
    """Let each go on with what it waited for; returns those that wait again."""
    paused = []
    for member, result in members:
        pause = member.throw(result) if isinstance(result, Exception) else member.switch(*result)
        if pause is not None:
            paused.append((member, pause))
    return paused


def _results(work: Work, arguments: list[Any]) -> list[tuple[Any] | Exception]:
    """A tuple of each argument's result, or what kept it from having one."""
    try:
        return [(result,) for result in work(arguments)]
    except Exception as error:
        if len(arguments) == 1:
            return [error]
        return [result for argument in arguments for result in _results(work, [argument])]
