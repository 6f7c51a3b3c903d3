"""The end of the server's certificate is told, and of the one that replaces it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.security.reloaded import Reloaded
from server.security.settings import Security
from server.security.tls import Served, reloaded
from server.telemetry import registry
from server.telemetry.certificate import tell_expiry
from server.telemetry.layout import LAYOUT
from server.telemetry.recorder import Recorder
from server.telemetry.references import References
from server.telemetry.sampler import Sampler
from server.telemetry.slot import Slot
from tests.certificates import Authority


def test_the_end_is_told_again_when_the_file_is_replaced_and_kept_when_it_is_spoiled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slot = Slot.private()
    file, key, other = tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "other.pem"
    recorder = Recorder(slot, Sampler(slot, References(tmp_path), 0, 3600))
    served: Reloaded[Served] | None = None

    def told() -> datetime:
        nonlocal served
        served = served or reloaded(Security(certificate=file, key=key))
        assert served is not None
        tell_expiry(served, recorder)
        return datetime.fromtimestamp(slot.cells[LAYOUT.first(registry.CERTIFICATE)], UTC)

    authority = Authority(tmp_path / "authority")
    ends: list[datetime] = []
    for days in (30, 60):
        pair = authority.issue("server", valid=timedelta(days=days))
        other.write_bytes(pair.certificate.read_bytes())
        os.replace(other, file)  # noqa: PTH105
        if ends:
            assert told() == ends[-1]  # it is not the key's: the former one is served
        other.write_bytes(pair.key.read_bytes())
        os.replace(other, key)  # noqa: PTH105
        ends.append(told())
        assert abs(ends[-1] - datetime.now(UTC) - timedelta(days=days)) < timedelta(hours=1)
    caplog.clear()
    file.write_text("no certificate")
    assert told() == ends[-1]
    assert told() == ends[-1]
    assert len([r for r in caplog.records if "stays in force" in r.getMessage()]) == 1
    file.unlink()
    assert told() == ends[-1]
