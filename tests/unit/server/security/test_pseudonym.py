"""User ids as logs show them."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from server.methods import Method
from server.security.pseudonym import Pseudonyms, pseudonyms
from server.security.redaction import Redaction, redacted, user_ids
from server.security.settings import Security
from shoprank.errors import UserError
from shoprank.v1.ranking_pb2 import RankItemsRequest

UNARY = Method("/s.S/M", "s.S", "M", False, False, RankItemsRequest)
NAMES = Pseudonyms(b"k" * 32)


def test_a_pseudonym_depends_on_the_user_and_on_the_key() -> None:
    assert NAMES.of("alice") == Pseudonyms(b"k" * 32).of("alice")
    assert len({NAMES.of("alice"), NAMES.of("bob"), Pseudonyms(b"l" * 32).of("alice")}) == 3
    assert NAMES.of("alice").startswith("u_")
    assert len(NAMES.of("é" * 500)) == 22


def test_the_key_comes_from_a_file_or_is_made_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"k" * 32)
    assert pseudonyms(Security(pseudonym_key=file)).of("a") == NAMES.of("a")
    assert pseudonyms(Security()).of("a") != pseudonyms(Security()).of("a")
    for bad in (b"k" * 15, b"k" * 65):
        file.write_bytes(bad)
        with pytest.raises(UserError):
            pseudonyms(Security(pseudonym_key=file))


def answering(user_id: str, log: Any, raw: bool = False) -> None:
    """Run `log` as part of answering a call of the user, whose request came as a message or as bytes."""
    request = RankItemsRequest(user_id=user_id)
    asked = request.SerializeToString() if raw else request
    Redaction(NAMES)(UNARY, lambda request, context: log())(asked, cast(grpc.ServicerContext, None))


LOGGED = ["alice@shop.test", "1", "u1", "a b", "naïve", 'quo"te', "line\nend", "back\\slash", "-x-"]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("user_id", LOGGED)
@pytest.mark.parametrize(
    "say",
    [str, repr, ascii, lambda u: repr(u.encode()), lambda u: f"user:{u};", lambda u: f"[{u}]", lambda u: {"k": u}],
)
def test_a_user_id_is_hidden_in_whatever_is_logged_during_its_call(
    user_id: str, say: Any, raw: bool, caplog: pytest.LogCaptureFixture
) -> None:
    answering(user_id, lambda: logging.getLogger("other.library").warning("of %s", say(user_id)), raw)
    (message,) = caplog.messages
    assert NAMES.of(user_id) in message
    assert str(say(user_id)) not in message.replace(NAMES.of(user_id), "")


def test_an_id_of_a_stream_is_hidden_whichever_thread_read_it(caplog: pytest.LogCaptureFixture) -> None:
    method = Method("/s.S/M", "s.S", "M", True, True, RankItemsRequest)
    asked = [RankItemsRequest(user_id=f"alice{n}@shop.test").SerializeToString() for n in range(9)]

    def behaviour(requests: Any, context: grpc.ServicerContext) -> Any:
        with ThreadPoolExecutor(1) as reader:
            read = reader.submit(list, requests).result()
        logging.getLogger("x").warning("of alice3@shop.test")
        yield from read

    assert len(list(Redaction(NAMES)(method, behaviour)(iter(asked), cast(grpc.ServicerContext, None)))) == 9
    assert caplog.messages == [f"of {NAMES.of('alice3@shop.test')}"]


def test_a_short_id_is_no_part_of_other_words(caplog: pytest.LogCaptureFixture) -> None:
    answering("1", lambda: logging.getLogger("x").warning("version 11 of v1 for user 1"))
    assert caplog.messages == [f"version 11 of v1 for user {NAMES.of('1')}"]


@pytest.mark.parametrize("address", ["127.0.0.1:40605", "10.1.0.1", "[::1]:1", "[fe80::1]"])
def test_a_short_id_is_no_part_of_an_address(address: str, caplog: pytest.LogCaptureFixture) -> None:
    answering("1", lambda: logging.getLogger("x").warning("redis://%s/1: away, asked for 1.", address))
    hidden = NAMES.of("1")
    assert caplog.messages == [f"redis://{address}/{hidden}: away, asked for {hidden}."]


@pytest.mark.parametrize("user_id", ["::1", "[::1]", "::", "0.0.1", "127.0.0.1", "1"])
@pytest.mark.parametrize("say", ["[%s]", "x:%s:1", "%s.0.0.", "(%s:40605)", "host:%s", "[%s:2:3]"])
def test_an_id_is_hidden_in_what_looks_like_an_address(
    user_id: str, say: str, caplog: pytest.LogCaptureFixture
) -> None:
    answering(user_id, lambda: logging.getLogger("x").warning(say, user_id))
    assert NAMES.of(user_id) in caplog.messages[0]
    assert say % user_id != caplog.messages[0]


def test_an_error_is_logged_without_the_id_and_so_are_those_before_it(caplog: pytest.LogCaptureFixture) -> None:
    alice = "alice@shop.test"

    def fail() -> None:
        try:
            try:
                raise KeyError(alice)
            except KeyError as error:
                raise ValueError(f"no row of {alice}") from error
        except ValueError:
            logging.getLogger("x").exception("failed")

    answering(alice, fail)
    assert alice not in caplog.text
    assert f"ValueError: no row of {NAMES.of(alice)}" in caplog.text
    assert "KeyError" in caplog.text
    assert "in fail" in caplog.text


def test_outside_a_call_nothing_is_changed() -> None:
    answering("alice@shop.test", lambda: None)
    assert redacted("alice@shop.test") == "alice@shop.test"


def test_ids_are_found_in_requests_at_any_depth() -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    inner = file.message_type.add(name="Inner")
    inner.field.add(name="user_id", number=1, type=9, label=1)
    outer = file.message_type.add(name="Outer")
    outer.field.add(name="events", number=1, type=11, label=3, type_name=".t.Inner")
    outer.field.add(name="user_ids", number=2, type=9, label=3)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    Outer = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Outer"))
    assert user_ids(Outer(events=[{"user_id": "a"}, {"user_id": "b"}], user_ids=["c", ""])) == {"a", "b", "c"}
