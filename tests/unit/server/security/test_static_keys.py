"""Static keys: made once, kept as hashes, revoked by taking them out of the file."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.security.principals import Principals
from server.security.roles import Role
from server.security.static_keys import StaticKeys, new_key
from shoprank.errors import Unauthenticated, UserError


def test_a_new_key_is_known_by_its_hash_and_is_nowhere_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "principals.toml"
    key = new_key(file, "shop-web", [Role.score, Role.feedback], None)
    assert key.startswith("srk_")
    assert len(key) >= 4 + 43
    assert key not in file.read_text()
    assert hashlib.sha256(key.encode()).hexdigest() in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    principal = StaticKeys(file, 10).principal(key, time.time())
    assert (principal.name, principal.roles) == ("key:shop-web", frozenset({Role.score, Role.feedback}))


def test_what_stands_in_the_file_stays_there_comments_too(tmp_path: Path) -> None:
    file = tmp_path / "principals.toml"
    file.write_text('# ours\n[[certificate]]\nname = "batch"\nsan = "dns:batch.shop"\nroles = ["admin"]\n')
    file.chmod(0o640)
    keys = [new_key(file, f"k{n}", [Role.score], None) for n in range(3)]
    assert file.read_text().startswith("# ours\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert [key.name for key in Principals.read(file).key] == ["k0", "k1", "k2"]
    assert {StaticKeys(file, 10).principal(key, 0).name for key in keys} == {"key:k0", "key:k1", "key:k2"}
    assert [p.name for p in tmp_path.iterdir()] == ["principals.toml"]


@pytest.mark.parametrize("name", ["", "a b", 'a"\n[[key]]', "x" * 65, "ü"])
def test_a_bad_name_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    file = tmp_path / "principals.toml"
    with pytest.raises(UserError, match="a name has 1 to 64"):
        new_key(file, name, [Role.score], None)
    assert not file.exists()


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    file = tmp_path / "principals.toml"
    new_key(file, "a", [Role.score], None)
    with pytest.raises(UserError, match="has a key of the name a"):
        new_key(file, "a", [Role.score], None)


def test_an_unknown_and_an_expired_key_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "principals.toml"
    ends = datetime.now(UTC) + timedelta(hours=1)
    key = new_key(file, "a", [Role.score], ends)
    keys = StaticKeys(file, 10)
    assert keys.principal(key, ends.timestamp() - 1)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="expired"):
            keys.principal(key, ends.timestamp())
    with pytest.raises(Unauthenticated, match="not known"):
        keys.principal(key[:-1], time.time())


def test_a_key_taken_out_of_the_file_is_refused_within_the_interval(tmp_path: Path) -> None:
    file = tmp_path / "principals.toml"
    kept, revoked = (new_key(file, name, [Role.score], None) for name in ("kept", "revoked"))
    keys = StaticKeys(file, 10)
    assert keys.principal(kept, 0)
    assert keys.principal(revoked, 0)
    file.write_text(file.read_text().split("\n\n")[0])
    time.sleep(1.1)
    with pytest.raises(Unauthenticated, match="not known"):
        keys.principal(revoked, 0)
    assert keys.principal(kept, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[key]\n", "not TOML"),
        ('[[key]]\nname = "a"\nroles = ["score"]', "sha256"),
        ('[[key]]\nname = "a"\nsha256 = "00"\nroles = ["score"]', "64 small hexadecimal"),
        (f'[[key]]\nname = "a"\nsha256 = "{"0" * 64}"\nroles = ["root"]', "roles"),
        (f'[[key]]\nname = "a"\nsha256 = "{"0" * 64}"\nroles = []', "roles"),
        (f'[[key]]\nname = "a"\nsha256 = "{"0" * 64}"\nroles = ["score"]\nkey = "srk_x"', "key"),
        (f'[[key]]\nname = "a"\nsha256 = "{"0" * 64}"\nroles = ["score"]\n' * 2, "is there twice"),
        ('[[keys]]\nname = "a"', "keys"),
        ('[[certificate]]\nname = "a"\nroles = ["score"]', "either subject or san"),
        ('[[certificate]]\nname = "a"\nroles = ["score"]\nsan = "batch.shop"', "san begins with"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "principals.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=reason) as error:
        StaticKeys(file, 10)
    assert "srk_x" not in str(error.value)
