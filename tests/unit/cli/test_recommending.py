"""What is told of a user on the command line."""

from __future__ import annotations

import pytest

from shoprank.cli.recommending import trait_of
from shoprank.errors import UserError


def test_a_trait_is_a_name_and_a_value() -> None:
    assert trait_of("income=35-49K") == ("income", "35-49K")
    assert trait_of("age=a=b") == ("age", "a=b")


def test_a_trait_without_a_value_is_refused() -> None:
    with pytest.raises(UserError, match="NAME=VALUE"):
        trait_of("age")
