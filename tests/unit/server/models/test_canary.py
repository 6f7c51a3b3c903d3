"""A canary answers a stable part of the users."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.models.canary import step
from shoprank import traffic
from shoprank.traffic import Share, Traffic
from tests.unit.server.models.bundles import World

USERS = [f"user {n}" for n in range(40_000)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, versions=2)
    world.models.open()
    return world


def canary(world: World, steps: int) -> set[str]:
    """Users whom version 2 answers at that share."""
    traffic.write(world.root / "m", Traffic(Share(2, steps)))
    world.models.refresh()
    return {user for user in USERS if world.models.of(user).manifest.version == 2}


@pytest.mark.parametrize("steps", [0, 1, 10, 100, 500, 5_000, 9_999, 10_000])
def test_the_share_is_the_one_asked_for(world: World, steps: int) -> None:
    expected = len(USERS) * steps / 10_000
    spread = 5 * (expected * (1 - steps / 10_000)) ** 0.5
    assert abs(len(canary(world, steps)) - expected) <= spread


def test_more_percent_only_adds_users(world: World) -> None:
    chosen = [canary(world, steps) for steps in (1, 50, 51, 700, 4_000, 10_000)]
    assert all(fewer <= more for fewer, more in pairwise(chosen))
    assert chosen[-1] == set(USERS)


def test_a_user_keeps_the_version_over_restarts(world: World, tmp_path: Path) -> None:
    before = canary(world, 1_234)
    world.models = type(world.models)(tmp_path, "m", world.opener)
    world.models.open()
    assert {u for u in USERS if world.models.of(u).manifest.version == 2} == before


@pytest.mark.parametrize(("user", "model", "expected"), [("1", "purchase", 9464), ("1", "m", 325), ("é", "m", 5624)])
def test_the_place_of_a_user_never_changes(user: str, model: str, expected: int) -> None:
    assert step(user, model) == expected


def test_another_model_draws_other_users() -> None:
    same = sum((step(u, "a") < 1_000) and (step(u, "b") < 1_000) for u in USERS)
    assert same == pytest.approx(len(USERS) / 100, rel=0.3)


def test_users_spread_evenly_over_the_places() -> None:
    counts = Counter(step(u, "m") // 1_000 for u in USERS)
    assert all(count == pytest.approx(4_000, abs=300) for count in counts.values())


@given(st.text())
def test_any_id_has_a_place(user: str) -> None:
    assert 0 <= step(user, "m") < 10_000
