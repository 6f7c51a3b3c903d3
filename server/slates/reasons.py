"""Why an item is in a slate, for a program and for a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from feature_repo.transforms import F32
from server.catalogue import Catalogue
from server.retrieval.history import DAY, History
from server.retrieval.retriever import Candidates, Retriever

ABOUT = {
    "BOUGHT_TOGETHER": "often bought with {name}",
    "ALSO_BOUGHT": "bought by people who buy {name}",
    "SIMILAR": "similar to {name}, which you know",
}
"""Reasons that name an item of the user's."""
MANY = 5
"""Distinct buyers in 28 days of what many people buy: fewer are a coincidence in a shop of any size."""
REGULAR = 3
"""Purchases from which on the days between them are a habit: two have one gap, which may be chance."""
MISSED = 4
"""Gaps without a purchase after which a habit is over: gaps vary, and a purchase may be made elsewhere."""
SHORTEST = 7.0
"""Days that a gap counts at least in that: who buys every day may be away for some weeks."""


@dataclass(frozen=True, slots=True)
class Reason:
    """kind: a `ReasonKind` without its prefix. item_id: the user's item, "" for none. gap_days: between purchases."""

    kind: str
    text: str
    item_id: str = ""
    gap_days: float = 0.0


POPULAR = Reason("POPULAR", "many people buy this now")
SEGMENT = Reason("SEGMENT", "popular with households like yours")
VIEWED = Reason("VIEWED", "you looked at this")
BOUGHT_ONCE = Reason("BOUGHT_BEFORE", "you bought this before")
FILLS_UP = Reason("FILLS_UP", "also in the catalogue")


def reasons(
    retriever: Retriever, history: History, slate: Candidates, catalogue: Catalogue, buyers: F32
) -> list[Reason]:
    """What speaks for each item of a slate: the user's own purchases, else the source that ranks it highest.

    buyers: float32 (k,), those of each item in the last 28 days, NaN where unknown.
    """
    found = _of_history(history, slate)
    for source, places in _by_source(slate, found):
        told = retriever.sources[source]
        if told.reason in ABOUT:
            items = slate.items[places]
            for place, other in zip(places, retriever.because(told, history, items).tolist(), strict=True):
                found[place] = _about(told.reason, retriever.item_ids[other], catalogue) if other >= 0 else None
            continue
        for place in places:
            found[place] = _of_kind(told.reason, retriever.item_ids[slate.items[place]], catalogue)
    popular = (buyers >= MANY).tolist()
    return [reason or (POPULAR if many else FILLS_UP) for reason, many in zip(found, popular, strict=True)]


def _by_source(slate: Candidates, found: list[Reason | None]) -> Iterator[tuple[int, list[int]]]:
    """Places without a reason so far, by the source that ranks them highest."""
    places: dict[int, list[int]] = {}
    for place, (source, reason) in enumerate(zip(slate.first.tolist(), found, strict=True)):
        if reason is None:
            places.setdefault(source, []).append(place)
    yield from places.items()


def _of_history(history: History, slate: Candidates) -> list[Reason | None]:
    """What the user's own purchases of each item say; None where there are none."""
    own = history.items[:, None] == slate.items
    if not own.size:
        return [None] * len(slate)
    at = own.argmax(axis=0)
    columns = (
        own.any(axis=0), history.purchases[at], history.first_at[at], history.last_at[at], history.interest[at],
    )  # fmt: skip
    return [
        _of_purchases(count, first_at, last_at, interest, history.time) if there else None
        for there, count, first_at, last_at, interest in zip(*(c.tolist() for c in columns), strict=True)
    ]


def _of_purchases(count: float, first_at: int, last_at: int, interest: float, time: int) -> Reason | None:
    if count <= 0:
        return VIEWED if interest > 0 else None
    if count < 2:
        return BOUGHT_ONCE
    gap = (last_at - first_at) / DAY / (count - 1)
    over = (time - last_at) / DAY > MISSED * max(gap, SHORTEST)
    if count < REGULAR or gap < 0.5 or over:
        return Reason("BOUGHT_BEFORE", f"you bought this {count:.0f} times")
    days = "every day" if gap < 1.5 else f"every {gap:.0f} days"
    return Reason("BUYS_REGULARLY", f"you buy this about {days}", gap_days=gap)


def _about(kind: str, item_id: str, catalogue: Catalogue) -> Reason:
    return Reason(kind, ABOUT[kind].format(name=catalogue.name(item_id)), item_id)


def _of_kind(kind: str, item_id: str, catalogue: Catalogue) -> Reason | None:
    if kind == "SEGMENT":
        return SEGMENT
    if kind == "CATEGORY" and (described := catalogue.describe(item_id)) and described.subcategory:
        return Reason("CATEGORY", f"sells well in {described.subcategory.lower()}, where you shop")
    return None
