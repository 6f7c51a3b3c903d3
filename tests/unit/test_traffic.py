"""The traffic file is read whole and right, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoprank import traffic
from shoprank.errors import TrafficError, UserError
from shoprank.traffic import Share, Traffic, steps

shares = st.none() | st.builds(Share, st.integers(1, 1_000_000), st.integers(0, 10_000))
loaded = st.lists(st.integers(1, 99), unique=True).map(lambda v: tuple(sorted(v)))


@given(shares, shares, loaded)
def test_traffic_comes_back_from_its_file_to_the_hundredth_of_a_percent(
    canary: Share | None, shadow: Share | None, versions: tuple[int, ...]
) -> None:
    wanted = Traffic(canary, shadow, versions)
    assert Traffic.parse(wanted.to_json()) == wanted


def test_a_model_without_a_file_has_no_traffic(tmp_path: Path) -> None:
    assert traffic.read(tmp_path) == Traffic()


def test_a_write_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    traffic.write(tmp_path, Traffic(Share(2, 1)))
    traffic.write(tmp_path, Traffic(Share(3, 1)))
    assert [p.name for p in tmp_path.iterdir()] == [traffic.TRAFFIC]
    assert traffic.read(tmp_path) == Traffic(Share(3, 1))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"format": 2}',
        '{"format": 1, "canari": null}',
        '{"format": 1, "canary": {"version": 2}}',
        '{"format": 1, "canary": {"version": 0, "percent": 1}}',
        '{"format": 1, "canary": {"version": true, "percent": 1}}',
        '{"format": 1, "canary": {"version": 2, "percent": "5"}}',
        '{"format": 1, "canary": {"version": 2, "percent": 101}}',
        '{"format": 1, "canary": {"version": 2, "percent": NaN}}',
        '{"format": 1, "shadow": {"version": 2, "percent": 0.001}}',
        '{"format": 1, "loaded": [0]}',
        "\xff\xfe",
    ],
)
def test_a_garbled_file_is_refused_naming_it(tmp_path: Path, content: str) -> None:
    (tmp_path / traffic.TRAFFIC).write_bytes(content.encode("latin-1"))
    with pytest.raises(TrafficError, match=r"traffic\.json: "):
        traffic.read(tmp_path)


def test_a_pipe_in_its_place_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "traffic.json")
    with pytest.raises(TrafficError, match=r"traffic\.json: no plain file"):
        traffic.read(tmp_path)


@pytest.mark.parametrize(("percent", "expected"), [(0, 0), (0.01, 1), (0.29, 29), (12.34, 1234), (100, 10_000)])
def test_a_percentage_is_counted_in_hundredths(percent: float, expected: int) -> None:
    assert steps(percent) == expected


@pytest.mark.parametrize("percent", [-0.01, 100.01, float("nan"), float("inf"), 0.005, 33.333])
def test_another_percentage_is_refused(percent: float) -> None:
    with pytest.raises(UserError, match="percent"):
        steps(percent)


def test_the_etag_changes_with_the_traffic() -> None:
    different: list[Any] = [Traffic(), Traffic(Share(1, 1)), Traffic(None, Share(1, 1)), Traffic(Share(1, 2))]
    assert len({t.etag for t in different}) == 4
    assert Traffic(Share(1, 1)).etag == Traffic.parse(json.dumps(json.loads(Traffic(Share(1, 1)).to_json()))).etag
