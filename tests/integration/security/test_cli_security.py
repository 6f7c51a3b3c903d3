"""Keys, TLS and the refusal to serve in the open, as a person runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.app import start
from server.settings import load
from shoprank.errors import UserError
from tests.certificates import Authority
from tests.conftest import Shop, settings

SHOPRANK = [sys.executable, "-m", "shoprank"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "200", **environment}
    return subprocess.run([*SHOPRANK, *arguments], env=env, capture_output=True, text=True, timeout=120, check=False)


def folders(shop: Shop) -> list[str]:
    return [
        "--data",
        str(shop.paths.root),
        "--model-repository",
        str(shop.models),
        "--clock",
        "snapshot",
        "--port",
        "0",
    ]


@contextmanager
def serving(shop: Shop, **environment: str) -> Iterator[str]:
    """Address of `shoprank serve` in a process of its own."""
    process = subprocess.Popen(
        [*SHOPRANK, "serve", *folders(shop)], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line
    yield line.split()[-1]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_new_key_is_printed_once_and_opens_the_server_over_tls(trained: Shop, tmp_path: Path) -> None:
    principals = tmp_path / "principals.toml"
    made = run("keys", "new", "--name", "shop-web", "--role", "score", "--file", str(principals))
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("srk_")
    assert key not in principals.read_text() + made.stderr
    authority = Authority(tmp_path / "pki")
    pair, mine = authority.issue("server", ip=("127.0.0.1",)), authority.issue("client")
    environment = {
        "SHOPRANK_SECURITY__CERTIFICATE": str(pair.certificate),
        "SHOPRANK_SECURITY__KEY": str(pair.key),
        "SHOPRANK_SECURITY__CLIENT_CA": str(authority.file),
        "SHOPRANK_SECURITY__PRINCIPALS": str(principals),
    }
    with serving(trained, **environment) as address:
        asking = ["--user", "u1", "--item", "i1", "--address", address]
        tls = [
            "--root-certificate",
            str(authority.file),
            "--certificate",
            str(mine.certificate),
            "--key",
            str(mine.key),
        ]
        for command in ("score", "rank"):
            done = run(command, *asking, *tls, SHOPRANK_TOKEN=key)
            assert done.returncode == 0, done.stderr
            assert "Item 1" in done.stdout
        variables = {
            "SHOPRANK_ROOT_CERTIFICATE": str(authority.file),
            "SHOPRANK_CERTIFICATE": str(mine.certificate),
            "SHOPRANK_KEY": str(mine.key),
        }
        done = run("score", *asking, "--token", key[:-1], **variables)
        assert done.returncode == 1
        assert "UNAUTHENTICATED: the key is not known" in done.stderr
        assert key[:-1] not in done.stderr


def test_serving_in_the_open_ends_with_exit_code_2_and_what_to_do(trained: Shop) -> None:
    done = run("serve", *folders(trained), "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "host 0.0.0.0: would serve beyond this machine without encryption" in done.stderr
    assert "--insecure" in done.stderr


def test_files_that_cannot_be_used_are_mistakes_of_the_user(trained: Shop, tmp_path: Path) -> None:
    for name in ("principals", "pseudonym_key"):
        given = settings(trained.paths.root, trained.models, security={name: tmp_path / "none"})
        with pytest.raises(UserError, match="none: cannot be read: No such file"):
            start(given)
    with pytest.raises(UserError, match="certificate and key go together"):
        load(security={"certificate": "x"})


def test_a_token_does_not_leave_this_machine_in_the_clear() -> None:
    done = run("score", "--user", "u", "--item", "i", "--address", "shop.test:50051", SHOPRANK_TOKEN="srk_secret")
    assert done.returncode == 2
    assert "token: would go to shop.test:50051 in the clear" in done.stderr
    assert "srk_secret" not in done.stderr


def test_an_unknown_role_is_named(tmp_path: Path) -> None:
    done = run("keys", "new", "--name", "a", "--role", "root", "--file", str(tmp_path / "p.toml"))
    assert done.returncode == 2
    assert "--role root: no such role; choose from score, feedback, admin" in done.stderr
