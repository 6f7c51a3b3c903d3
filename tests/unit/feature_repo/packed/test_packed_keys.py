"""Rows of different entities never share a key, and an entity has one key however it is asked for."""

from __future__ import annotations

import random
from typing import Any

import pytest
import redis.cluster
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.packed.keys import HASHED, LONGEST, SEVERAL, entity_key, keys_of
from feature_repo.packed.layout import value_of
from feature_repo.packed.redis_keys import redis_keys

repeatable = settings(derandomize=True, deadline=None, database=None)

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.text("a\0{}:\xff\n\r\x02", max_size=4),
    st.integers(395, 420).flatmap(lambda size: st.sampled_from(["a" * size, "a" * (size - 1) + "b", "é" * size])),
)
contents: dict[str, st.SearchStrategy[Any]] = {
    "string_val": texts,
    "bytes_val": texts.map(str.encode) | st.binary(max_size=5),
    "int32_val": st.sampled_from([0, 1, -1, 97, 2**31 - 1, -(2**31)]),
    "int64_val": st.sampled_from([0, 1, -1, 97, 2**31, 2**63 - 1, -(2**63)]),
    "unix_timestamp_val": st.sampled_from([0, 1, -1, 97, 2**33]),
}
parts = st.sampled_from(sorted(contents)).flatmap(lambda kind: st.tuples(st.just(kind), contents[kind]))
Entity = tuple[tuple[str, Any], ...]
entities = st.lists(parts, max_size=3).map(tuple)


def proto(entity: Entity, order: random.Random | None = None) -> EntityKey:
    """Feast's key of an entity whose join keys are a, b, c, in that or a random order."""
    pairs = [("abc"[i], value_of(kind, content)) for i, (kind, content) in enumerate(entity)]
    if order is not None:
        order.shuffle(pairs)
    return EntityKey(join_keys=[name for name, _ in pairs], entity_values=[value for _, value in pairs])


def plain(entity: Entity) -> bytes:
    """The key of an entity by its plain values."""
    values = tuple(content for _, content in entity)
    (key,) = keys_of([kind for kind, _ in entity], [values[0] if len(values) == 1 else values])
    return key


def slot(key: bytes) -> int:
    """The slot of a Redis cluster that a key is in."""
    return int(redis.cluster.key_slot(key))


@settings(repeatable, max_examples=600)
@given(entities, entities)
@example((("string_val", "a"), ("string_val", "")), (("string_val", ""), ("string_val", "a")))
@example((("string_val", "a\0"), ("string_val", "b")), (("string_val", "a"), ("string_val", "\0b")))
@example((("int32_val", 97),), (("string_val", "a\0\0\0"),))
@example((), (("string_val", ""),))
def test_distinct_entities_have_distinct_keys(one: Entity, other: Entity) -> None:
    assert (plain(one) == plain(other)) == (one == other)
    one_key, other_key = redis_keys("shop/view", [plain(one), plain(other)])
    assert (one_key == other_key) == (one == other)


@settings(repeatable, max_examples=150)
@given(st.lists(entities, min_size=2, max_size=60, unique=True))
def test_no_two_of_many_entities_share_a_key(many: list[Entity]) -> None:
    keys = [plain(entity) for entity in many]
    assert len(set(keys)) == len(set(redis_keys("shop/view", keys))) == len(many)


@settings(repeatable, max_examples=400)
@given(entities, st.integers())
def test_feasts_entity_key_in_any_order_and_plain_values_make_the_same_key(entity: Entity, seed: int) -> None:
    assert entity_key(proto(entity, random.Random(seed))) == plain(entity)


@settings(repeatable, max_examples=200)
@given(entities)
def test_a_key_fits_lmdb_and_cannot_be_taken_for_what_is_not_a_row(entity: Entity) -> None:
    key = plain(entity)
    assert 0 < len(key) <= LONGEST < 511
    assert key[0] != 0
    assert (len(entity) != 1) == (key[:1] in (SEVERAL, HASHED)) or len(key) == 33


@settings(repeatable, max_examples=400)
@given(entities)
def test_a_redis_cluster_keeps_rows_of_an_entity_in_one_slot_whatever_the_view(entity: Entity) -> None:
    (user,), (history,) = redis_keys("shop/user", [plain(entity)]), redis_keys("shop/history", [plain(entity)])
    assert user != history
    assert slot(user) == slot(history)


def test_braces_in_an_id_do_not_gather_rows_in_one_slot() -> None:
    ids = [f"{brace}{i}" for i in range(200) for brace in ("{", "}", "}{", "{}", "x}y{")]
    keys = redis_keys("shop/view", keys_of(["string_val"], ids))
    assert len(set(keys)) == len(ids)
    assert len({slot(key) for key in keys}) > 900


@settings(repeatable, max_examples=300)
@given(st.sampled_from(sorted(contents)).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(contents[kind]))))
def test_keys_of_many_ids_are_those_of_each(case: tuple[str, list[Any]]) -> None:
    kind, ids = case
    assert keys_of([kind], ids) == [plain(((kind, one),)) for one in ids]
    assert keys_of([kind], ids) == [entity_key(proto(((kind, one),))) for one in ids]


def test_a_join_key_of_a_type_that_cannot_be_one_is_refused_by_name() -> None:
    key = EntityKey(join_keys=["price"], entity_values=[Value(double_val=1.0)])
    with pytest.raises(ValueError, match=r"price.*double_val"):
        entity_key(key)
    with pytest.raises(ValueError, match="price"):
        entity_key(EntityKey(join_keys=["price"], entity_values=[Value()]))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("string_val", 5), ("int64_val", "5"), ("int64_val", 5.0), ("int32_val", 2**31), ("bytes_val", 5)],
)
def test_a_plain_value_of_another_type_is_refused(kind: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        keys_of([kind], [value])


def test_several_join_keys_with_a_value_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        keys_of(["int64_val", "int64_val"], [(1,)])
