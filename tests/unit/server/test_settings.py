"""Settings come from arguments, the environment and a file, in this order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from server.process.channel import options
from server.process.settings import MOST, MOST_SECONDS, Limits
from server.settings import load
from shoprank.errors import UserError


def settings_file(monkeypatch: pytest.MonkeyPatch, file: Path, text: str) -> None:
    """Have the settings read from a file of this text."""
    file.write_text(text)
    monkeypatch.setenv("SHOPRANK_SETTINGS", str(file))


def test_every_default_works_on_a_laptop() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.clock) == ("127.0.0.1", 50051, "wall")


def test_an_argument_beats_the_environment_beats_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings_file(monkeypatch, tmp_path / "shoprank.toml", 'port = 1\nhost = "127.0.0.2"\nthreads = 3\n')
    monkeypatch.setenv("SHOPRANK_PORT", "2")
    monkeypatch.setenv("SHOPRANK_HOST", "127.0.0.3")
    settings = load(port=4, threads=None)
    assert (settings.port, settings.host, settings.threads) == (4, "127.0.0.3", 3)


def test_an_unknown_key_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings_file(monkeypatch, tmp_path / "shoprank.toml", "prot = 1\n")
    with pytest.raises(UserError, match=r"prot \(.*shoprank\.toml\): Extra"):
        load()
    monkeypatch.delenv("SHOPRANK_SETTINGS")
    monkeypatch.setenv("SHOPRANK_PROT", "1")
    with pytest.raises(UserError, match="SHOPRANK_PROT: no such setting"):
        load()


@pytest.mark.parametrize(
    "variable", ["SHOPRANK_MODEL__KEEP", "SHOPRANK_THREADS__X", "SHOPRANK_MODELS__KEEP__X", "SHOPRANK_SETTINGS__X"]
)
def test_a_name_below_a_setting_that_is_no_group_is_an_error(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("SHOPRANK_MODELS__KEEP", "3")
    assert load().models.keep == 3
    monkeypatch.setenv(variable, "0")
    with pytest.raises(UserError, match=f"{variable}: no such setting"):
        load()


def test_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="port=70000"):
        load(port=70_000)
    monkeypatch.setenv("SHOPRANK_SETTINGS", str(tmp_path / "none.toml"))
    with pytest.raises(UserError, match=r"none\.toml: no such file"):
        load()
    settings_file(monkeypatch, tmp_path / "broken.toml", "port = = 1")
    with pytest.raises(UserError, match=r"broken\.toml"):
        load()


def test_a_bad_value_is_named_by_where_it_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings_file(monkeypatch, tmp_path / "some.toml", "port = 70000\n[limits]\nqueue = -1\n")
    with pytest.raises(UserError, match=r"port \(.*some\.toml\)=70000: .*; limits\.queue \(.*some\.toml\)=-1: "):
        load()
    monkeypatch.setenv("SHOPRANK_PORT", "x")
    with pytest.raises(UserError, match=r"settings: SHOPRANK_PORT='x': .*; limits\.queue \(.*some\.toml\)=-1: "):
        load()
    with pytest.raises(UserError, match=r"settings: port=70001: "):
        load(port=70_001)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LIMITS", "{", 'environment: error parsing value for field "limits"'),
        ("LIMITS__REQUEST_BYTES", "99999999999", "SHOPRANK_LIMITS__REQUEST_BYTES='99999999999'"),
        ("LIMITS__STREAMS", "3000000000", "SHOPRANK_LIMITS__STREAMS='3000000000'"),
        ("LIMITS__CONNECTION_AGE_SECONDS", "1e300", "SHOPRANK_LIMITS__CONNECTION_AGE_SECONDS='1e300'"),
        ("LIMITS__PATIENCE_SECONDS", "inf", "SHOPRANK_LIMITS__PATIENCE_SECONDS='inf'"),
        ("PROCESS__DRAIN_SECONDS", "inf", "SHOPRANK_PROCESS__DRAIN_SECONDS='inf'"),
        ("GRACE_SECONDS", "inf", "SHOPRANK_GRACE_SECONDS='inf'"),
        ("MODELS__POLL_SECONDS", "inf", "SHOPRANK_MODELS__POLL_SECONDS='inf'"),
        ("MODELS__POLL_SECONDS", "1e12", "SHOPRANK_MODELS__POLL_SECONDS='1e12'"),
        ("PROCESS__PROBE_SECONDS", "1e12", "SHOPRANK_PROCESS__PROBE_SECONDS='1e12'"),
        ("TELEMETRY__LOG_LINES_PER_SECOND", "inf", "SHOPRANK_TELEMETRY__LOG_LINES_PER_SECOND='inf'"),
        ("SECURITY__LEEWAY_SECONDS", "nan", "SHOPRANK_SECURITY__LEEWAY_SECONDS='nan'"),
        ("LIMITS__QUEU", "3", "SHOPRANK_LIMITS__QUEU: "),
    ],
)
def test_what_cannot_be_counted_or_waited_for_is_named(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SHOPRANK_{name}", value)
    with pytest.raises(UserError) as error:
        load()
    assert said in str(error.value)


def test_the_largest_limits_are_as_large_as_grpc_can_count() -> None:
    largest = Limits(
        request_bytes=MOST, reply_bytes=MOST, metadata_bytes=MOST, connections=MOST, streams=MOST, pending=MOST,
        connection_age_seconds=MOST_SECONDS, connection_grace_seconds=MOST_SECONDS, handshake_seconds=MOST_SECONDS,
        connection_idle_seconds=MOST_SECONDS, keepalive_seconds=MOST_SECONDS, keepalive_timeout_seconds=MOST_SECONDS,
        ping_seconds=MOST_SECONDS,
    )  # fmt: skip
    grpc.server(ThreadPoolExecutor(1), options=options(largest, shared_port=False)).stop(None)


@pytest.mark.parametrize(
    "traces",
    ["localhost:4317", "http://x:abc", "ftp://x", "http://", "", "http://x:99999", "https://a?b", "http://a b"],
)
def test_traces_go_to_an_endpoint(monkeypatch: pytest.MonkeyPatch, traces: str) -> None:
    monkeypatch.setenv("SHOPRANK_TELEMETRY__TRACES", traces)
    with pytest.raises(UserError, match=r"SHOPRANK_TELEMETRY__TRACES='[^']*': it is no endpoint"):
        load()


@pytest.mark.parametrize("traces", ["http://127.0.0.1:4317", "https://collector.shop", "http://[::1]:4317/"])
def test_an_endpoint_of_traces_is_taken(monkeypatch: pytest.MonkeyPatch, traces: str) -> None:
    monkeypatch.setenv("SHOPRANK_TELEMETRY__TRACES", traces)
    assert load().telemetry.traces == traces


def test_a_shadows_file_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOPRANK_MODELS__SHADOW_LOG", str(tmp_path / "shadow.jsonl"))
    assert load().models.shadow_log == tmp_path / "shadow.jsonl"
    monkeypatch.setenv("SHOPRANK_MODELS__SHADOW_LOG", str(tmp_path / "made" / "later" / "shadow.jsonl"))
    load()
    (tmp_path / "file").touch()
    for path, wrong in ((tmp_path, "is a folder"), (tmp_path / "file" / "shadow.jsonl", "nothing can be written in")):
        monkeypatch.setenv("SHOPRANK_MODELS__SHADOW_LOG", str(path))
        with pytest.raises(UserError, match=rf"SHOPRANK_MODELS__SHADOW_LOG=.*{wrong}"):
            load()
