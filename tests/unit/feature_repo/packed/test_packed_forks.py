"""A child of a fork does not wait for threads that it does not have."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

from feature_repo.packed.counts import Counts
from feature_repo.packed.rows import Status
from tests.integration.packed_world import process


def test_a_child_counts_though_the_parent_was_forked_while_it_counted() -> None:
    with process(fork_while_counting) as (_, told):
        assert told.poll(60)
        assert told.recv()["found"] == 3


def fork_while_counting(connection: Connection) -> None:
    """Fork with the lock held, as if by a thread that counts."""
    counts = Counts()
    counts.add([Status.FOUND])
    with counts._lock:
        child = multiprocessing.get_context("fork").Process(target=count_and_tell, args=(counts, connection))
        child.start()
    child.join()


def count_and_tell(counts: Counts, connection: Connection) -> None:
    """What the child has counted, beside what the parent had."""
    counts.add([Status.FOUND] * 2)
    connection.send(counts.get())
