"""Versions change under load: no call fails, and no reply mixes versions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shoprank import Client, bundle
from tests.integration.models.conftest import Served

SWAPS = 200
CLIENTS = 4
USERS = [f"u{u}" for u in range(8)]
ITEMS = [f"i{i}" for i in range(40)]

LAST_BITS = 1e-5
"""A ranking may differ by so much with what it is ranked beside; versions differ by more than a hundred times that."""

Numbers = tuple[tuple[str, ...], np.ndarray[Any, Any]]


def asked(client: Client, user: str) -> tuple[int, Numbers]:
    """The version that a ranking names, and every number in it."""
    ranking = client.rank(user, ITEMS)
    numbers = [(r.probability, r.purchase_probability, r.logit) for r in ranking]
    return ranking.served_by.model_version, (tuple(r.item_id for r in ranking), np.array(numbers))


def agree(one: Numbers, other: Numbers) -> bool:
    """Whether two rankings hold the same items in the same order with the same numbers, but for their last bits."""
    places = {item: place for place, item in enumerate(other[0])}
    if set(one[0]) != set(places):
        return False
    near = np.abs(one[1] - other[1][[places[item] for item in one[0]]]).max() <= LAST_BITS
    return bool(near and (np.diff(one[1][:, 2]) <= 0).all())


def expected(served: Served, versions: tuple[int, ...]) -> dict[tuple[int, str], Numbers]:
    """What each version gives each user, asked while it alone serves."""
    found = {}
    with Client(served.address, timeout=10) as client:
        for version in versions:
            served.admin.activate("purchase", version)
            for user in USERS:
                (named, numbers) = asked(client, user)
                assert named == version
                found[version, user] = numbers
    return found


def test_two_hundred_swaps_under_load_fail_no_call_and_mix_no_versions(serve: Callable[..., Served]) -> None:
    served = serve()
    right = expected(served, (1, 2))
    assert all(np.abs(right[1, user][1] - right[2, user][1]).max() > 1e-3 for user in USERS)
    stopped, wrong, seen = threading.Event(), [], []

    def ask(number: int) -> None:
        with Client(served.address, timeout=10) as client:
            at = number
            while not stopped.is_set():
                user = USERS[at % len(USERS)]
                at += 1
                try:
                    version, ranking = asked(client, user)
                except Exception as error:
                    wrong.append(str(error))
                    continue
                if not agree(ranking, right[version, user]):
                    wrong.append(f"{user}: not what version {version} gives")
                seen.append(version)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    before = served.running.models.served.counts.swaps
    for swap in range(SWAPS):
        if swap % 2:
            served.admin.rollback("purchase")
        else:
            served.admin.activate("purchase", 1 if bundle.linked(served.repository, "purchase") == 2 else 2)
    stopped.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert served.running.models.served.counts.swaps - before == SWAPS
    assert min(seen.count(1), seen.count(2)) > 20


def test_swaps_on_the_disk_that_load_and_release_fail_no_call(serve: Callable[..., Served]) -> None:
    """Without room for retired versions, so that every swap loads one and releases the other."""
    served = serve(keep=0, poll_seconds=0.01)
    right = expected(served, (1, 2, 3))
    stopped, wrong, seen = threading.Event(), [], set()

    def ask() -> None:
        with Client(served.address, timeout=10) as client:
            while not stopped.is_set():
                for user in USERS:
                    version, ranking = asked(client, user)
                    seen.add(version)
                    if not agree(ranking, right[version, user]):
                        wrong.append(f"{user}: not what version {version} gives")

    thread = threading.Thread(target=ask)
    thread.start()
    for swap in range(12):
        version = swap % 3 + 1
        bundle.activate(served.repository, "purchase", version)
        _until(lambda v=version: served.running.models.served.of("").manifest.version == v)  # type: ignore[misc]
    stopped.set()
    thread.join()
    assert wrong == []
    assert seen == {1, 2, 3}
    assert len(served.running.models.served.versions.numbers()) == 1


def test_a_rollback_is_done_at_once(serve: Callable[..., Served]) -> None:
    served = serve()
    served.admin.activate("purchase", 2)
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        served.admin.rollback("purchase")
        taken.append(time.perf_counter() - began)
    assert float(np.median(taken)) < 0.1
    assert served.running.models.served.counts.loads == 2


def test_a_process_that_is_told_nothing_follows_the_repository(serve: Callable[..., Served], repository: Path) -> None:
    """Another worker changes the repository; this one follows, and its replies with it."""
    one, other = serve(), serve()
    one.admin.activate("purchase", 2)
    _until(lambda: other.running.models.served.of("").manifest.version == 2)
    with Client(other.address, timeout=10) as client:
        assert client.rank("u1", ITEMS).served_by.model_version == 2


def test_a_restart_keeps_version_and_traffic(serve: Callable[..., Served]) -> None:
    from shoprank.traffic import Share

    first = serve()
    first.admin.activate("purchase", 2)
    first.admin.route("purchase", Share(3, 5_000), None)
    with Client(first.address, timeout=10) as client:
        before = {f"w{n}": client.rank(f"w{n}", ["i1"]).served_by.model_version for n in range(100)}
    again = serve()
    with Client(again.address, timeout=10) as client:
        after = {f"w{n}": client.rank(f"w{n}", ["i1"]).served_by.model_version for n in range(100)}
    assert before == after
    assert set(after.values()) == {2, 3}


def _until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
