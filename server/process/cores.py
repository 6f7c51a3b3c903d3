"""Which cores a worker runs on."""

from __future__ import annotations

import os


def available() -> tuple[int, ...]:
    """Cores this process may run on, ascending."""
    return tuple(sorted(os.sched_getaffinity(0)))


def share(cores: tuple[int, ...], place: int, workers: int) -> tuple[int, ...]:
    """Cores of worker `place` of so many, 0 ≤ place < workers: parts as even as can be, shared where there are fewer
    cores than workers.

    >>> share((0, 1, 2, 3, 4), 0, 2), share((0, 1, 2, 3, 4), 1, 2), share((0, 1), 2, 3)
    ((0, 1, 2), (3, 4), (0,))
    """
    if workers >= len(cores):
        return (cores[place % len(cores)],)
    size, longer = divmod(len(cores), workers)
    first = place * size + min(place, longer)
    return cores[first : first + size + (place < longer)]
