"""Feast starts without checking its own types; nobody else's checks are lost."""

from __future__ import annotations

from types import FunctionType

import pytest
import typeguard
from feast import FeatureView


def test_feast_is_as_it_was_written() -> None:
    made = FeatureView.__init__  # imported after `feature_repo`, which every test is, by tests/conftest.py
    assert isinstance(made, FunctionType)
    assert "check_argument_types" not in made.__code__.co_names


def test_others_are_checked_as_they_ask() -> None:
    @typeguard.typechecked
    def half(number: int) -> float:
        return number / 2

    @typeguard.typechecked(collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    wrong: object = "four"
    with pytest.raises(typeguard.TypeCheckError):
        half(wrong)  # type: ignore[arg-type]
    with pytest.raises(typeguard.TypeCheckError):
        total([1, wrong])  # type: ignore[list-item]
