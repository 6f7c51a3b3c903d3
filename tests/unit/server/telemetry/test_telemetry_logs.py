"""Log lines are for people or for machines, and a call gets one where it is worth one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from server import call
from server.call import Call
from server.methods import Method, method_of
from server.telemetry import logs, registry
from server.telemetry.access import AccessLog
from server.telemetry.layout import LAYOUT
from server.telemetry.recorder import Recorder
from server.telemetry.references import References
from server.telemetry.sampler import Sampler
from server.telemetry.settings import Telemetry
from server.telemetry.slot import Slot
from shoprank.v1 import ranking_pb2

RANK = method_of(ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].methods_by_name["RankItems"])
REQUEST = ranking_pb2.RankItemsRequest(user_id="alice")
OK, INTERNAL, INVALID = grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    call.enter(Call(""))


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def configured(stream: io.StringIO, log_format: Any = "json") -> None:
    logs.configure(Telemetry(log_format=log_format), stream)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_carries_the_call_and_an_exception_as_fields(stream: io.StringIO) -> None:
    configured(stream)
    call.enter(Call("/a/b", "id-1"))
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("server.x").exception("it %s", "failed")
    (line,) = lines(stream)
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "server.x", "it failed")
    assert line["request_id"] == "id-1"
    assert line["time"].endswith("+00:00")
    assert (line["exception"]["type"], line["exception"]["message"]) == ("ValueError", "two\nlines")
    assert "Traceback" in line["exception"]["stack"]


def test_a_line_of_text_carries_fields_behind_the_message(stream: io.StringIO) -> None:
    configured(stream, "text")
    logging.getLogger("x").info("call", extra={"fields": {"code": "OK", "who": 'a "b"', "none": "", "odd": "a\x1b[2J"}})
    assert stream.getvalue().endswith(' INFO x: call code=OK who="a \\"b\\"" none="" odd="a\\u001b[2J"\n')


def test_feast_logs_its_errors_alone(stream: io.StringIO) -> None:
    configured(stream)
    logging.getLogger("feast.infra").warning("chatter")
    assert stream.getvalue() == ""


class Calls:
    """An access log, and what it counted as dropped."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.slot = Slot.private()
        recorder = Recorder(self.slot, Sampler(self.slot, References(folder), 0, 3600))
        self.log = AccessLog(Telemetry(**settings), recorder, lambda user: f"<{user}>")

    def end(self, code: grpc.StatusCode, seconds: float = 0.001, request: Any = REQUEST, method: Method = RANK) -> None:
        if self.log.wants(code, seconds):
            self.log.write(method, Call(method.path, "id-1"), code, seconds, request)

    @property
    def dropped(self) -> float:
        return self.slot.cells[LAYOUT.first(registry.LINES_DROPPED)]


def test_only_faults_and_slow_calls_get_a_line(stream: io.StringIO, tmp_path: Path) -> None:
    configured(stream)
    calls = Calls(tmp_path, slow_seconds=0.2)
    calls.end(OK)
    calls.end(INVALID)
    assert lines(stream) == []
    calls.end(OK, 0.3)
    calls.end(INTERNAL)
    slow, failed = lines(stream)
    assert (slow["level"], slow["code"], slow["seconds"]) == ("INFO", "OK", 0.3)
    assert (failed["level"], failed["code"]) == ("WARNING", "INTERNAL")
    assert failed["method"] == "shoprank.v1.RankingService/RankItems"


def test_every_call_gets_a_line_where_that_is_asked_for(stream: io.StringIO, tmp_path: Path) -> None:
    configured(stream)
    calls = Calls(tmp_path, log_calls=True)
    calls.end(OK)
    calls.end(INVALID)
    assert [line["code"] for line in lines(stream)] == ["OK", "INVALID_ARGUMENT"]


def test_users_are_named_only_where_that_is_asked_for_and_by_their_pseudonym(
    stream: io.StringIO, tmp_path: Path
) -> None:
    configured(stream)
    Calls(tmp_path, log_calls=True).end(OK)
    assert "alice" not in stream.getvalue()
    calls = Calls(tmp_path, log_calls=True, log_users=True)
    calls.end(OK)
    calls.end(OK, request=REQUEST.SerializeToString())
    calls.end(OK, request=b"\xff")
    assert [line.get("user") for line in lines(stream)] == [None, "<alice>", "<alice>", None]


def test_lines_beyond_so_many_a_second_are_counted_and_not_written(stream: io.StringIO, tmp_path: Path) -> None:
    configured(stream)
    calls = Calls(tmp_path, log_lines_per_second=5)
    for _ in range(50):
        calls.end(INTERNAL)
    assert 5 <= len(lines(stream)) <= 6
    assert calls.dropped == 50 - len(lines(stream))
