"""Locks across forks: a thread that held one in the parent is not there in the child to let go of it."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet


class Locked:
    """Has a lock, `_lock`, which a child of a fork finds open, whoever held it in the parent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locked.add(self)


_locked: WeakSet[Locked] = WeakSet()


def _open() -> None:
    for owner in _locked:
        owner._lock = threading.Lock()


os.register_at_fork(after_in_child=_open)
