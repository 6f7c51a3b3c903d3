"""What is asked and what has to be answered: requests of RankItems and the reply that each is held against."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shoprank.v1.ranking_pb2 import RankItemsResponse

TOLERANCE = 1e-4
REQUESTS, REPLIES = "requests", "replies"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Serialized requests and, of each, the serialized reply that is right."""

    requests: list[bytes]
    replies: list[bytes]

    def write(self, folder: Path) -> None:
        """Write both into the folder, for another process."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, messages in ((REQUESTS, self.requests), (REPLIES, self.replies)):
            (folder / name).write_bytes(b"".join(struct.pack(">I", len(m)) + m for m in messages))

    @classmethod
    def read(cls, folder: Path) -> Traffic:
        """What `write` wrote."""
        return cls(*(list(_messages((folder / name).read_bytes())) for name in (REQUESTS, REPLIES)))

    def wrong(self, answers: Iterable[tuple[int, bytes]]) -> int:
        """How many answers, each with the number of its request, are not what they have to be."""
        return sum(not same(answer, self.replies[number]) for number, answer in answers)


def _messages(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def same(answer: bytes, right: bytes) -> bool:
    """Whether a ranking has the items and, within 1e-4, the probabilities of the right one, and is in order."""
    if answer == right:
        return True
    found, wanted = RankItemsResponse.FromString(answer), RankItemsResponse.FromString(right)
    if len(found.item_ids) != len(wanted.item_ids) or set(found.item_ids) != set(wanted.item_ids):
        return False
    places = {item: i for i, item in enumerate(found.item_ids)}
    order = [places[item] for item in wanted.item_ids]
    for name in ("probabilities", "purchase_probabilities"):
        theirs, ours = np.array(getattr(found, name)), np.array(getattr(wanted, name))
        if len(theirs) != len(ours) or not (np.abs(theirs[order] - ours) <= TOLERANCE).all():
            return False
    return bool((np.diff(found.purchase_probabilities) <= TOLERANCE).all())
