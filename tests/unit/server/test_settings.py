"""Settings come from arguments, the environment and a file, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    with pytest.raises(UserError, match="prot=1"):
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
