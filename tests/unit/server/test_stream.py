"""Requests of a stream, as many as wait at once."""

from __future__ import annotations

from server.stream import taken


def test_requests_are_taken_up_to_where_none_waits() -> None:
    assert list(taken(iter([b"a", b"b", None, None, b"c", None]))) == [[b"a", b"b"], [], [b"c"]]


def test_the_last_are_taken_with_the_end() -> None:
    assert list(taken(iter([None, b"a"]))) == [[], [b"a"]]
    assert list(taken(iter(()))) == []
