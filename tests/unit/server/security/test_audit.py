"""What is written down of a call."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from server.security.audit import Allowance, Audit, direct
from server.security.pseudonym import Pseudonyms
from shoprank.errors import UserError
from shoprank.v1.ranking_pb2 import RankItemsRequest

NAMES = Pseudonyms(bytes(16))


def test_a_request_is_summed_up_short_and_without_user_ids() -> None:
    request = RankItemsRequest(user_id="alice", item_ids=[f"i{n}" for n in range(100)], top_k=3)
    request.context.channel = "c" * 500
    summary = Audit(None, NAMES).summary(request)
    assert summary["user_id"] == NAMES.of("alice")
    assert summary["item_ids"] == "100 entries"
    assert summary["top_k"] == 3
    assert len(json.dumps(summary)) < 400
    assert Audit(None, None).summary(request)["user_id"] == "alice"


def test_so_many_at_once_and_the_rest_are_counted() -> None:
    allowance = Allowance(per_second=0.0, burst=2)
    assert [allowance.take() for _ in range(4)] == [0, 0, None, None]
    allowance._left = 1
    assert allowance.take() == 2


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"audit_file .*cannot be opened"):
        direct(tmp_path / "no" / "audit.jsonl")


def test_what_is_no_number_of_json_is_a_text() -> None:
    summary = Audit(None, NAMES).summary(RankItemsRequest(temperature=math.inf))
    assert json.loads(json.dumps(summary, allow_nan=False)) == {"temperature": "inf"}
