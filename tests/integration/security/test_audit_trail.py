"""Every admin call, and every denied one, leaves a line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from server.app import Running
from server.security import audit
from server.security.roles import Role
from server.security.settings import Security
from shoprank import Client, ServerError
from tests.integration.security.admin_service import call, serving

LOAD, WATCH = "shoprank.v1.ModelService/Load", "shoprank.v1.ModelService/Watch"


def lines(file: Path, count: int) -> list[dict[str, Any]]:
    """The file's lines, once there are so many: a reply may be with the client before the line is written."""
    for _ in range(100):
        found = file.read_text().splitlines()
        if len(found) >= count:
            break
        time.sleep(0.02)
    return [json.loads(line) for line in found]


def test_every_admin_call_leaves_one_line_with_its_outcome(
    keys: dict[Role, str], principals: Path, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    asked = []
    with serving(Security(principals=principals, audit_file=file)) as address:
        for method in (LOAD, WATCH):
            for model in ("good", "missing", "bad", "altered", "defect", "aborts"):
                for version in range(5):
                    code = call(address, method, keys[Role.admin], model=model, version=version, user_id="alice@x")
                    asked.append((f"/{method}", code.name, model, version))
        found = lines(file, len(asked))
    assert [(f["method"], f["code"], f["request"]["model"], f["request"].get("version", 0)) for f in found] == asked
    assert {f["code"] for f in found} == {
        "OK", "NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "INTERNAL"
    }  # fmt: skip
    assert {f["principal"] for f in found} == {"key:may-admin"}
    assert all(f["peer"].startswith("ipv4:127.0.0.1:") and f["event"] == "admin" and f["time"] for f in found)
    assert "alice" not in file.read_text()


def test_every_denied_call_leaves_a_line_with_the_reason(
    guarded: Running, keys: dict[Role, str], tmp_path: Path
) -> None:
    for token in (None, "garbled", keys[Role.feedback]):
        with Client(guarded.address, 10, token=token) as client, pytest.raises(ServerError):
            client.score("alice@x", ["i1"])
    found = lines(tmp_path / "audit.jsonl", 3)
    assert [(f["event"], f["principal"], f["code"]) for f in found] == [
        ("denied", "", "UNAUTHENTICATED"), ("denied", "", "UNAUTHENTICATED"),
        ("denied", "key:may-feedback", "PERMISSION_DENIED"),
    ]  # fmt: skip
    assert [f["reason"].split(";")[0] for f in found[:2]] == ["no credentials", "the token is no JSON Web Token"]
    text = (tmp_path / "audit.jsonl").read_text()
    assert "garbled" not in text
    assert "alice" not in text


def test_no_caller_changes_a_line_by_the_user_it_names(guarded: Running, keys: dict[Role, str], tmp_path: Path) -> None:
    names = ("1", "127.0.0.1", '"event"', "UNAUTHENTICATED", "PERMISSION_DENIED", "key:may-feedback", "denied")
    for name in names:
        for token in (None, keys[Role.feedback]):
            with Client(guarded.address, 10, token=token) as client, pytest.raises(ServerError):
                client.score(name, ["i1"])
    found = lines(tmp_path / "audit.jsonl", 2 * len(names))
    assert [(f["event"], f["principal"], f["code"]) for f in found] == [
        ("denied", "", "UNAUTHENTICATED"), ("denied", "key:may-feedback", "PERMISSION_DENIED")
    ] * len(names)  # fmt: skip
    assert all(f["peer"].startswith("ipv4:127.0.0.1:") for f in found)


def test_a_flood_of_denied_calls_is_counted_and_admin_calls_still_leave_every_line(
    keys: dict[Role, str], principals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "DENIED_BURST", 5.0)
    monkeypatch.setattr(audit, "DENIED_PER_SECOND", 0.5)
    file = tmp_path / "audit.jsonl"
    with serving(Security(principals=principals, audit_file=file)) as address:
        for _ in range(60):
            call(address, LOAD, None)
            call(address, LOAD, keys[Role.admin])
        time.sleep(2.1)
        call(address, LOAD, None)
        found = lines(file, 60 + 6)
    denied = [f for f in found if f["event"] == "denied"]
    assert len(found) - len(denied) == 60
    assert 6 <= len(denied) <= 12
    assert sum(f.get("left_out", 0) for f in denied) + len(denied) == 61


def test_a_rotated_file_is_opened_anew(keys: dict[Role, str], principals: Path, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    with serving(Security(principals=principals, audit_file=file)) as address:
        call(address, LOAD, keys[Role.admin], model="one")
        lines(file, 1)
        file.rename(tmp_path / "audit.jsonl.1")
        call(address, LOAD, keys[Role.admin], model="two")
        for _ in range(100):
            if file.exists() and file.read_text():
                break
            time.sleep(0.02)
    assert [f["request"]["model"] for f in lines(file, 1)] == ["two"]


def test_a_line_that_cannot_be_written_is_in_the_log(
    keys: dict[Role, str], principals: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Security(principals=principals, audit_file=Path("/dev/full"))) as address:
        call(address, LOAD, keys[Role.admin], model="one")
        time.sleep(0.2)
    assert "/dev/full: cannot be written; the audit line was" in caplog.text


def test_without_a_file_audit_lines_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with serving(Security()) as address:
        call(address, LOAD, None, model="one")
        time.sleep(0.2)
    # pytest listens at a logger that did not propagate before and at its root: a set, to count a record once.
    (line,) = {r.getMessage() for r in caplog.records if r.name == "shoprank.audit"}
    assert json.loads(line)["request"] == {"model": "one"}
