"""Which replies count as right."""

from __future__ import annotations

from pathlib import Path

from benchmarks.load.traffic import Traffic, same
from shoprank.v1.ranking_pb2 import RankItemsResponse


def ranking(**items: float) -> bytes:
    """A reply with these purchase probabilities, in the order given."""
    total = sum(items.values())
    return RankItemsResponse(
        item_ids=list(items),
        purchase_probabilities=list(items.values()),
        probabilities=[p / total for p in items.values()],
    ).SerializeToString()


RIGHT = ranking(a=0.5, b=0.3, c=0.2)


def test_the_same_bytes_are_right() -> None:
    assert same(RIGHT, RIGHT)


def test_what_differs_by_less_than_the_tolerance_is_right_in_either_order_of_a_tie() -> None:
    assert same(ranking(a=0.50002, b=0.3, c=0.2), RIGHT)
    assert same(ranking(b=0.30002, a=0.3), ranking(a=0.30001, b=0.3))


def test_another_probability_is_wrong() -> None:
    assert not same(ranking(a=0.5, b=0.3005, c=0.2), RIGHT)


def test_another_item_or_a_missing_one_is_wrong() -> None:
    assert not same(ranking(a=0.5, b=0.3, d=0.2), RIGHT)
    assert not same(ranking(a=0.5, b=0.3), RIGHT)
    assert not same(b"", RIGHT)


def test_the_right_probabilities_in_a_wrong_order_are_wrong() -> None:
    assert not same(ranking(b=0.3, a=0.5, c=0.2), RIGHT)


def test_traffic_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    traffic = Traffic([b"", b"\x00one", b"two" * 1_000], [b"x", b"", b"z"])
    traffic.write(tmp_path)
    assert Traffic.read(tmp_path) == traffic


def test_wrong_replies_are_counted() -> None:
    traffic = Traffic([b"q"], [RIGHT])
    assert traffic.wrong([(0, RIGHT), (0, ranking(a=1.0)), (0, RIGHT)]) == 1
