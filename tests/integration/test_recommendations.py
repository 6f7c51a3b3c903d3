"""Slates and similar items over a real socket, from a real server over a real store."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from feast.data_source import PushMode

from feature_repo.paths import DataPaths
from feature_repo.snapshots import snapshot_path
from feature_repo.store import applied_store, apply, materialize
from server.app import Running, start
from shoprank import (
    AsyncClient,
    Client,
    InvalidRequest,
    Item,
    ItemFilter,
    Likeness,
    ReasonKind,
    ServerError,
    SlateRules,
)
from shoprank.requests import RankRequest
from tests.conftest import Shop, settings
from tests.world import ITEMS

USER = "u3"
EVERY = [f"i{i}" for i in range(ITEMS)]


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Client]:
    with Client(server.address, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def items(client: Client) -> dict[str, Item]:
    return client.items(EVERY)


def ids(answer: object) -> list[str]:
    return [one.item_id for one in answer]  # type: ignore[attr-defined]


def test_a_slate_is_the_best_of_the_candidates_as_the_model_ranks_them(client: Client) -> None:
    """All items are candidates here, so the slate is the head of the catalogue's ranking."""
    slate, ranking = client.recommend(USER, candidates=ITEMS, top_k=15), client.rank(USER, top_k=15)
    assert slate.candidate_count == ITEMS
    assert ids(slate) == ids(ranking)
    assert [one.logit for one in slate] == pytest.approx([one.logit for one in ranking], abs=1e-5)
    assert [one.purchase_probability for one in slate] == pytest.approx(
        [one.purchase_probability for one in ranking], abs=1e-6
    )
    assert {one.propensity for one in slate} == {1.0}
    assert (slate.log_propensity, slate.seed) == (0.0, 0)
    assert slate.feature_status.items_found == ITEMS


def test_candidates_hold_what_the_user_buys_and_their_sources_are_named(client: Client, trained: Shop) -> None:
    slate = client.recommend(USER, candidates=60, top_k=60)
    assert slate.candidate_count == 60
    assert len(set(ids(slate))) == 60
    assert all(one.sources for one in slate)
    history = pq.read_table(trained.paths.events, filters=[("user_id", "=", USER), ("event_type", "=", "purchase")])
    often = {item for item, count in Counter(history["item_id"].to_pylist()).items() if count > 5}
    assert often
    assert often <= set(ids(slate))
    by_frequency = {one.item_id for one in slate if "frequency" in one.sources}
    assert often <= by_frequency


def test_reasons_say_what_the_purchases_say(client: Client) -> None:
    slate = client.recommend(USER, candidates=ITEMS, top_k=ITEMS)
    regular = [one for one in slate if one.reason.kind is ReasonKind.BUYS_REGULARLY]
    assert regular
    for one in regular:
        gap = one.reason.gap_days
        every = "every day" if gap < 1.5 else f"every {gap:.0f} days"
        assert one.reason.text == f"you buy this about {every}"
        assert {"repeat", "frequency"} & set(one.sources)
    new = [one for one in slate if one.reason.kind in (ReasonKind.ALSO_BOUGHT, ReasonKind.BOUGHT_TOGETHER)]
    assert new
    names = client.items([one.reason.item_id for one in new])
    assert all(one.reason.text.endswith(names[one.reason.item_id].name) for one in new)
    assert ReasonKind.UNKNOWN not in {one.reason.kind for one in slate}


def test_an_unknown_user_is_recommended_what_sells_best(client: Client) -> None:
    slate = client.recommend("never seen", candidates=30, top_k=30)
    assert slate.feature_status.user.value == "missing"
    assert {one.sources for one in slate} == {("popularity",)}
    assert {one.reason.kind for one in slate} == {ReasonKind.POPULAR}
    assert len(slate) == 30


def test_what_hardly_anybody_bought_lately_is_not_called_popular(client: Client, trained: Shop) -> None:
    slate = client.recommend("never seen", candidates=ITEMS, top_k=ITEMS)
    end = trained.schedule.test
    events = pq.read_table(trained.paths.events, filters=[("event_type", "=", "purchase")]).to_pandas()
    lately = events[(events.event_time >= end - timedelta(days=28)) & (events.event_time < end)]
    buyers = lately.groupby("item_id").user_id.nunique()
    popular = {one.item_id for one in slate if one.reason.kind is ReasonKind.POPULAR}
    assert popular == set(buyers[buyers >= 5].index)
    rest = {(one.reason.kind, one.reason.text) for one in slate if one.item_id not in popular}
    assert rest == {(ReasonKind.FILLS_UP, "also in the catalogue")}


def test_what_is_told_of_an_unknown_user_counts(client: Client) -> None:
    slate = client.recommend("never seen", candidates=30, top_k=30, traits={"age": "25-34", "income": "1"})
    assert slate.feature_status.user.value == "missing"
    assert {one.sources for one in slate} <= {("traits", "popularity"), ("popularity", "traits"), ("traits",)}
    assert ReasonKind.SEGMENT in {one.reason.kind for one in slate}
    plain = {one.item_id: one.logit for one in client.recommend("never seen", candidates=ITEMS, top_k=ITEMS)}
    assert [one.logit for one in slate] == pytest.approx([plain[one.item_id] for one in slate], abs=1e-5)
    unheard = client.recommend("never seen", candidates=30, top_k=30, traits={"age": "999"})
    assert {one.sources for one in unheard} == {("popularity",)}


def test_what_is_told_of_a_user_with_a_history_changes_no_candidate(client: Client) -> None:
    told = client.recommend(USER, candidates=60, top_k=60, traits={"children": "3"})
    assert set(ids(told)) == set(ids(client.recommend(USER, candidates=60, top_k=60)))


def test_traits_that_are_none_are_refused_by_name(client: Client) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.recommend("never seen", traits={"shoe size": "42", "age": "", "income": "x" * 65, "children": "2"})
    assert [violation.field for violation in refused.value.violations] == [
        "user_traits[age]",
        "user_traits[income]",
        "user_traits['shoe size']",
    ]


def test_a_user_of_whom_the_store_has_but_traits_is_recommended_by_them(bare: DataPaths, trained: Shop) -> None:
    """As pushed when it registers: a row with keys and an empty history."""
    apply(bare, trained.models)
    cutoff = trained.schedule.test
    list(materialize(bare, cutoff))
    store = applied_store(bare)
    for view in ("user_features", "user_history"):
        row = pd.read_parquet(snapshot_path(bare, view, cutoff)).query("user_id == 'u3'")
        empty = {
            name: [row[name].iloc[0][:0]] if isinstance(row[name].iloc[0], np.ndarray) else 0
            for name in row.columns
            if name not in ("user_id", "event_timestamp", "user_age_key", "user_income_key", "user_as_of")
        }
        row = row.assign(user_id="registered", event_timestamp=pd.Timestamp(cutoff, tz="UTC"), **empty)
        store.push(f"{view}_push", row, to=PushMode.ONLINE)
    running = start(settings(bare.root, trained.models, clock="snapshot"))
    try:
        with Client(running.address, timeout=10) as client:
            slate = client.recommend("registered", candidates=30, top_k=30)
    finally:
        running.stop()
    assert slate.feature_status.user.value == "found"
    assert {"traits", "popularity"} >= {source for one in slate for source in one.sources}
    assert ReasonKind.SEGMENT in {one.reason.kind for one in slate}


def test_what_is_pushed_counts_in_the_next_slate(bare: DataPaths, trained: Shop) -> None:
    """A user that the training never saw, and an item's price."""
    apply(bare, trained.models)
    cutoff = trained.schedule.test
    list(materialize(bare, cutoff))
    running = start(settings(bare.root, trained.models, clock="snapshot"))
    try:
        with Client(running.address, timeout=10) as client:
            before = client.recommend("newcomer", candidates=40, top_k=40)
            assert {one.sources for one in before} == {("popularity",)}
            store = applied_store(bare)
            for view in ("user_features", "user_history"):
                row = pd.read_parquet(snapshot_path(bare, view, cutoff)).query("user_id == 'u3'")
                row = row.assign(user_id="newcomer", event_timestamp=pd.Timestamp(cutoff, tz="UTC"))
                store.push(f"{view}_push", row, to=PushMode.ONLINE)
            after = client.recommend("newcomer", candidates=40, top_k=40)
            assert after.items == client.recommend("u3", candidates=40, top_k=40).items
            dear = SlateRules(ItemFilter(min_price=1e6))
            assert not len(client.recommend("u3", rules=dear))
            row = pd.read_parquet(snapshot_path(bare, "item_features", cutoff)).query("item_id == 'i1'")
            row = row.assign(item_price=9e6, event_timestamp=pd.Timestamp(cutoff + timedelta(days=1), tz="UTC"))
            store.push("item_features_push", row, to=PushMode.ONLINE)
            assert ids(client.recommend("u3", rules=dear)) == ["i1"]
    finally:
        running.stop()


def test_every_item_of_a_slate_passes_the_filter(client: Client, items: dict[str, Item]) -> None:
    own = client.recommend(USER, top_k=10)
    rules = SlateRules(
        ItemFilter(
            departments=["d0", "d1"],
            excluded_categories=["c1", "c3"],
            brands=["Own"],
            blocked_item_ids=[one.item_id for one in own][:3],
        )
    )
    slate = client.recommend(USER, candidates=ITEMS, top_k=10, rules=rules)
    assert len(slate) == 10
    for one in slate:
        item = items[one.item_id]
        assert item.department in ("d0", "d1")
        assert item.category not in ("c1", "c3")
        assert item.brand == "Own"
        assert one.item_id not in ids(own)[:3]
    passing = [
        i for i, item in items.items()
        if item.department in ("d0", "d1") and item.category not in ("c1", "c3") and item.brand == "Own"
    ]  # fmt: skip
    assert slate.candidate_count == len(set(passing) - set(ids(own)[:3]))


def test_a_filter_of_prices_and_purchases_is_what_the_events_say(client: Client, trained: Shop) -> None:
    time = trained.schedule.test
    rules = SlateRules(ItemFilter(min_price=3, max_price=5, not_bought_within_days=60))
    slate = client.recommend(USER, candidates=ITEMS, top_k=ITEMS, rules=rules)
    assert len(slate)
    events = pq.read_table(trained.paths.events).to_pandas()
    bought = events[(events.event_type == "purchase") & (events.event_time < time)]
    since = bought[(bought.user_id == USER) & (time - bought.event_time).dt.days.lt(60)]
    expected = {i for i in EVERY if 3 <= 1 + int(i[1:]) % 7 <= 5} & set(bought.item_id) - set(since.item_id)
    assert set(ids(slate)) == expected


def test_nothing_passes_and_the_slate_is_empty(client: Client) -> None:
    slate = client.recommend(USER, rules=SlateRules(ItemFilter(min_price=1e6)))
    assert (len(slate), slate.candidate_count, slate.log_propensity) == (0, 0, 0.0)


def test_a_filtered_ranking_is_the_ranking_of_what_passes(client: Client, items: dict[str, Item]) -> None:
    """Of candidates named, of the whole catalogue, and in a batch."""
    passing = ItemFilter(categories=["c2", "c4"])
    named = [i for i in EVERY[:90] if items[i].category in ("c2", "c4")]
    expected = client.rank(USER, named)
    found = client.rank(USER, EVERY[:90], filter=passing)
    assert ids(found) == ids(expected)
    assert (found.candidate_count, found.filtered_count) == (len(named), 90 - len(named))
    assert sum(one.probability for one in found) == pytest.approx(1, abs=1e-5)
    (batched, _) = client.rank_batch([RankRequest(USER, EVERY[:90], filter=passing), RankRequest(USER, ["i1"])])
    assert ids(batched) == ids(expected)
    assert batched.filtered_count == 90 - len(named)
    whole = client.rank(USER, top_k=5_000, filter=passing)
    assert {items[i].category for i in ids(whole)} == {"c2", "c4"}


def test_limits_and_diversity_hold(client: Client, items: dict[str, Item]) -> None:
    capped = client.recommend(USER, top_k=12, rules=SlateRules(per_category=1, per_department=5))
    kinds = [items[one.item_id].category for one in capped if items[one.item_id].category]
    assert max(Counter(kinds).values()) == 1
    assert max(Counter(items[one.item_id].department for one in capped).values()) <= 5
    plain, diverse = (client.recommend(USER, top_k=12, rules=SlateRules(diversity=x)) for x in (1.0, 0.3))
    assert ids(plain) == ids(client.recommend(USER, top_k=12))
    subcategories = [len({items[i].subcategory for i in ids(slate)}) for slate in (plain, diverse)]
    assert subcategories[1] > subcategories[0] or subcategories[0] == 12


def test_a_draw_is_the_same_for_the_same_seed_and_says_its_probability(client: Client) -> None:
    rules = SlateRules(temperature=1.5, seed=7, per_category=2)
    one, other = client.recommend(USER, rules=rules), client.recommend(USER, rules=rules)
    assert one.items == other.items
    assert one.seed == 7
    assert one.log_propensity == pytest.approx(sum(math.log(item.propensity) for item in one), abs=1e-4)
    assert one.log_propensity < 0
    free = [client.recommend(USER, rules=SlateRules(temperature=1.5)) for _ in range(6)]
    assert len({tuple(ids(slate)) for slate in free}) > 1
    again = client.recommend(USER, rules=SlateRules(temperature=1.5, seed=free[0].seed))
    assert again.items == free[0].items


def test_the_first_place_is_drawn_from_the_softmax_of_the_ranking(client: Client) -> None:
    ranking = {r.item_id: r.probability for r in client.rank(USER, EVERY, temperature=2.0)}
    for seed in range(5):
        slate = client.recommend(USER, candidates=ITEMS, top_k=1, rules=SlateRules(temperature=2.0, seed=seed))
        (first,) = slate.items
        assert first.propensity == pytest.approx(ranking[first.item_id], rel=1e-4)


def test_similar_items_are_named_with_their_sources(client: Client, items: dict[str, Item]) -> None:
    found = client.similar("i3", top_k=5)
    assert 1 <= len(found) <= 5
    assert "i3" not in ids(found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0 < one.score <= 1 and one.sources for one in found)
    alike = client.similar("i3", likeness=Likeness.CONTENT)
    assert {items[one.item_id].subcategory for one in alike} == {items["i3"].subcategory}
    assert {one.sources for one in alike} == {("content",)}
    with pytest.raises(ServerError, match="NOT_FOUND: item 'nobody sells this': not in the catalogue"):
        client.similar("nobody sells this")


def test_the_asynchronous_client_answers_alike(client: Client, server: Running) -> None:
    async def ask() -> tuple[list[str], list[str]]:
        async with AsyncClient(server.address, timeout=10) as other:
            slate, alike = await other.recommend(USER, top_k=5), await other.similar("i3")
            return ids(slate), ids(alike)

    assert asyncio.run(ask()) == (ids(client.recommend(USER, top_k=5)), ids(client.similar("i3")))
