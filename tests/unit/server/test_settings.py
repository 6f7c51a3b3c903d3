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


def test_every_default_works_on_a_laptop() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.clock) == ("127.0.0.1", 50051, "wall")


def test_an_argument_beats_the_environment_beats_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "shoprank.toml"
    file.write_text('port = 1\nhost = "127.0.0.2"\nthreads = 3\n')
    monkeypatch.setenv("SHOPRANK_SETTINGS", str(file))
    monkeypatch.setenv("SHOPRANK_PORT", "2")
    monkeypatch.setenv("SHOPRANK_HOST", "127.0.0.3")
    settings = load(port=4, threads=None)
    assert (settings.port, settings.host, settings.threads) == (4, "127.0.0.3", 3)


def test_an_unknown_key_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "shoprank.toml"
    file.write_text("prot = 1\n")
    monkeypatch.setenv("SHOPRANK_SETTINGS", str(file))
    with pytest.raises(UserError, match="prot: Extra"):
        load()
    monkeypatch.delenv("SHOPRANK_SETTINGS")
    monkeypatch.setenv("SHOPRANK_PROT", "1")
    with pytest.raises(UserError, match="SHOPRANK_PROT: no such setting"):
        load()


def test_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="port=70000"):
        load(port=70_000)
    monkeypatch.setenv("SHOPRANK_SETTINGS", str(tmp_path / "none.toml"))
    with pytest.raises(UserError, match=r"none\.toml: no such file"):
        load()
    broken = tmp_path / "broken.toml"
    broken.write_text("port = = 1")
    monkeypatch.setenv("SHOPRANK_SETTINGS", str(broken))
    with pytest.raises(UserError, match=r"broken\.toml"):
        load()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LIMITS", "{", 'environment: error parsing value for field "limits"'),
        ("LIMITS__REQUEST_BYTES", "99999999999", "limits.request_bytes='99999999999'"),
        ("LIMITS__STREAMS", "3000000000", "limits.streams='3000000000'"),
        ("LIMITS__CONNECTION_AGE_SECONDS", "1e300", "limits.connection_age_seconds='1e300'"),
        ("LIMITS__PATIENCE_SECONDS", "inf", "limits.patience_seconds='inf'"),
        ("PROCESS__DRAIN_SECONDS", "inf", "process.drain_seconds='inf'"),
        ("GRACE_SECONDS", "inf", "grace_seconds='inf'"),
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
    with pytest.raises(UserError, match=r"telemetry\.traces='[^']*': it is no endpoint"):
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
        with pytest.raises(UserError, match=rf"models\.shadow_log=.*{wrong}"):
            load()
