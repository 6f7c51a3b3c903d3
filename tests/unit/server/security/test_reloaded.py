"""Files that are read again when they change, and what becomes of those that cannot be used."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from server.security.reloaded import Reloaded
from server.security.settings import Security
from server.security.tls import reloaded
from shoprank.errors import UserError
from tests.certificates import Authority
from tests.serving import eventually


class Locked:
    """Reads a file, unless it is locked: root reads whatever the mode says."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.why = ""
        self.reads = 0

    def __call__(self) -> str:
        self.reads += 1
        if self.why:
            raise UserError(self.why)
        return self.file.read_text()


@pytest.fixture
def locked(tmp_path: Path) -> Locked:
    file = tmp_path / "keys"
    file.write_text("old")
    return Locked(file)


def test_a_file_that_could_not_be_read_is_read_once_it_can_be_though_it_is_the_same(locked: Locked) -> None:
    keys = Reloaded([locked.file], locked)
    locked.why = "Permission denied"
    locked.file.write_text("new")
    assert keys.refreshed() == "old"
    locked.why = ""
    assert keys.refreshed() == "new"


def test_a_complaint_is_logged_once_until_it_changes(locked: Locked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    keys = Reloaded([locked.file], locked)
    locked.file.write_text("new")
    for locked.why in ("denied", "denied", "no TOML", "", "denied"):
        locked.file.touch()
        keys.refreshed()
    said = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert said == ["denied", "no TOML", f"{locked.file} changed and was read again", "denied"]


def test_a_change_of_the_mode_is_a_change(locked: Locked) -> None:
    keys = Reloaded([locked.file], locked)
    locked.file.chmod(0o640)
    keys.refreshed()
    keys.refreshed()
    assert locked.reads == 2


def test_a_certificate_is_taken_up_when_its_time_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    served = reloaded(Security(certificate=pair.certificate, key=pair.key))
    assert served is not None
    former = served.value
    authority.issue("server", since=timedelta(seconds=2))
    assert served.value is former
    assert "not valid before" in caplog.text
    eventually(lambda: served.value is not former, 5)
