"""Errors of the client go from process to process, and its types reach who uses it."""

from __future__ import annotations

import copy
import pickle
from importlib.resources import files

import pytest

from shoprank.errors import (
    Conflict,
    FieldViolation,
    InvalidRequest,
    NoActiveModel,
    Overloaded,
    ServerError,
    ShoprankError,
)


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest([FieldViolation("user_id", "is empty"), FieldViolation("top_k", "is 0")]),
        ServerError("UNAVAILABLE", "no server: there"),
        Overloaded("too much", 0.5),
        Conflict("changed"),
        NoActiveModel("none"),
    ],
)
def test_an_error_is_the_same_in_another_process(error: ShoprankError) -> None:
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))


def test_the_package_says_that_it_has_types() -> None:
    assert (files("shoprank") / "py.typed").is_file()
