"""A repository is listed whatever is damaged in it, and says what is."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoprank import bundle, repository, traffic
from shoprank.cli.app import app
from shoprank.errors import TrafficError
from shoprank.traffic import Share, Traffic
from tests.unit.test_bundle import write_bundle


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Model `a`, whose newest manifest is damaged and whose traffic is garbled, and model `m`, which is sound."""
    for version in (1, 2):
        write_bundle(tmp_path, version, "a")
    write_bundle(tmp_path, 1, "m")
    (tmp_path / "a" / "2" / bundle.MANIFEST).write_text("{")
    (tmp_path / "a" / traffic.TRAFFIC).write_text("{")
    return tmp_path


def run(repository: Path, *arguments: str) -> str:
    done = CliRunner().invoke(
        app, ["models", *arguments, "--model-repository", str(repository)], env={"COLUMNS": "160"}
    )
    if done.exception:
        raise done.exception
    return done.output


def test_a_damaged_manifest_and_garbled_traffic_hide_nothing_else(damaged: Path) -> None:
    a, m = repository.models(damaged)
    assert [(v.version, v.state) for v in a.versions] == [(1, "good"), (2, "bad")]
    assert "manifest.json: not a manifest" in a.versions[1].reason
    assert "traffic.json: Expecting property name" in a.reason
    assert (a.kind, a.traffic) == ("table", Traffic())
    assert (m.kind, m.reason, [v.state for v in m.versions]) == ("table", "", ["good"])


def test_the_list_says_what_is_damaged(damaged: Path) -> None:
    said = run(damaged, "list")
    for words in ("a (table)", "m (table)", "version 2: ", "not a manifest", "traffic: ", "traffic.json: Expecting"):
        assert words in said


def test_a_model_without_a_manifest_that_can_be_read_is_of_unknown_kind(damaged: Path) -> None:
    (damaged / "a" / "1" / bundle.MANIFEST).write_text("{")
    assert repository.model(damaged, "a").kind == repository.UNKNOWN


def test_garbled_traffic_is_told_where_it_is_read_and_replaced_where_it_is_set(damaged: Path) -> None:
    with pytest.raises(TrafficError, match=r"traffic\.json: Expecting property name"):
        run(damaged, "traffic", "--model", "a")
    assert "canary: version 1, 5 %" in run(damaged, "traffic", "--model", "a", "--canary", "1", "--canary-percent", "5")
    assert traffic.read(damaged / "a") == Traffic(Share(1, 500))
    assert "canary: version 1, 5 %" in run(damaged, "traffic", "--model", "a")
