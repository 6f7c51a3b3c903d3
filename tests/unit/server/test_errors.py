"""An error's code says who is to do something about it."""

from __future__ import annotations

import grpc
import pytest

from server.errors import code_of
from shoprank.errors import NoActiveModel, NotFound, ShoprankError, StoreNotReady, UserError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoActiveModel("train first"), grpc.StatusCode.FAILED_PRECONDITION),
        (StoreNotReady("apply first"), grpc.StatusCode.UNAVAILABLE),
        (NotFound("no version 9"), grpc.StatusCode.NOT_FOUND),
        (UserError("bad"), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_what_a_server_has_to_have_first_is_no_fault_of_its_callers(
    error: ShoprankError, code: grpc.StatusCode
) -> None:
    assert code_of(error) is code
