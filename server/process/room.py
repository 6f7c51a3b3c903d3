"""How many calls may still come in."""

from __future__ import annotations

from server.process.bounds import Bounds, Crowd, Pace


class Room:
    """The room that is left, by how many calls wait and how long each takes.

    A bound on calls alone would be too low for brief ones, of which a thread has done eight by the time that it hears
    of the next, and too high for long ones.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.crowd = Crowd(bounds.patience)
        self.pace = Pace()

    def left(self, busy: int, waiting: int, coming: int = 0) -> int:
        """Calls that may come in beside those that wait, those that are coming, and those that so many threads are busy
        with.

        Below 0 where there are too many already.
        """
        if not waiting:
            self.crowd.empty()
        bounds, pace = self._bounds, self.pace.seconds
        if self.crowd.lasts():
            most = bounds.queue
        else:
            most = max(bounds.burst, int(bounds.burst_seconds / pace)) if pace else bounds.burst
        left = most - (busy + waiting + coming - bounds.threads)
        if left <= 0:
            self.crowd.full()
        return left

    def over(self, left: int) -> bool:
        """Whether the call that came last, and left so much room, is too much.

        A thread is counted until it is done, a moment after its caller has the answer and may ask again. Where a queue
        lasts, calls beyond the next piece of work would wait for another one.
        """
        return left < (0 if self.crowd.lasting else -self._bounds.threads)
