"""The commands serve, score and rank, as a person runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import Shop

SHOPRANK = [sys.executable, "-m", "shoprank"]
WIDE = {**os.environ, "COLUMNS": "200"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SHOPRANK, *arguments], env=WIDE, capture_output=True, text=True, timeout=120, check=False)


def serve_command(shop: Shop, *arguments: str) -> list[str]:
    folders = ["--data", str(shop.paths.root), "--model-repository", str(shop.models)]
    return [*SHOPRANK, "serve", *folders, "--clock", "snapshot", *arguments]


@pytest.fixture(scope="module")
def address(trained: Shop) -> Iterator[str]:
    """A server in a process of its own; ends with exit code 0 on SIGTERM."""
    process = subprocess.Popen(serve_command(trained, "--port", "0"), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serve: purchase version 1 with purchase_v1 over 150 items on 127.0.0.1:")
    yield line.split()[-1]
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert rest.strip() == "serve: stopped"


def test_one_process_stops_on_sighup_as_on_sigterm(trained: Shop) -> None:
    process = subprocess.Popen(serve_command(trained, "--port", "0"), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest.strip()) == (0, "serve: stopped")


def test_the_server_of_a_command_that_is_killed_ends(trained: Shop) -> None:
    program = (
        "import sys, time; from pathlib import Path; import shoprank.cli.app; from shoprank.cli.demo import serving\n"
        "with serving(*map(Path, sys.argv[1:])): time.sleep(60)"
    )
    folders = [str(trained.paths.root), str(trained.models)]
    with subprocess.Popen([sys.executable, "-c", program, *folders], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline().startswith("serve: purchase version 1")
        (server,) = psutil.Process(killed.pid).children()
        killed.kill()
    gone, _ = psutil.wait_procs([server], timeout=15)
    assert gone == [server]


def test_rank_prints_names_and_probabilities(address: str) -> None:
    done = run("rank", "--user", "u1", "--address", address, "--top-k", "3")
    assert done.returncode == 0, done.stderr
    assert "user u1: best 3 of 150 candidates" in done.stdout
    assert "Item " in done.stdout
    assert "purchase version 1, purchase_v1" in done.stdout


def test_score_names_unknown_items(address: str) -> None:
    done = run("score", "--user", "u1", "--address", address, "--item", "i1", "--item", "nope")
    assert done.returncode == 0, done.stderr
    assert "Item 1" in done.stdout
    assert "unknown items, not scored: nope" in done.stdout


def test_items_that_the_server_does_not_know_at_all_are_a_mistake(address: str) -> None:
    for command in ("score", "rank"):
        done = run(command, "--user", "u1", "--address", address, "--item", "nope", "--item", "neither")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "shoprank: --item nope, neither: the server knows no such item\n"


def test_recommend_prints_why_and_with_what_probability(address: str) -> None:
    done = run("recommend", "--user", "u1", "--address", address, "--top-k", "4", "--temperature", "1", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert "user u1: 4 of 150 candidates" in done.stdout
    assert "you b" in done.stdout
    assert "drawn with seed 3; log-probability of this slate -" in done.stdout
    refused = run("recommend", "--user", "u1", "--address", address, "--category", "none", "--per-category", "0")
    assert refused.returncode == 2
    assert "filter.categories[0] is no category of the catalogue: 'none'; limits.per_category" in refused.stderr


def test_a_slate_drawn_with_seed_0_says_so(address: str) -> None:
    done = run("recommend", "--user", "u1", "--address", address, "--top-k", "1", "--temperature", "1", "--seed", "0")
    assert "drawn with seed 0; log-probability of this slate " in done.stdout


@pytest.mark.parametrize("name", ["[/b]", "[red]x", ":smile:"])
def test_ids_are_printed_as_they_are(address: str, name: str) -> None:
    for command in ("score", "rank"):
        done = run(command, "--user", name, "--address", address, "--item", "i1", "--item", name)
        assert done.returncode == 0, done.stderr
        assert f"user {name}" in done.stdout
        assert f"unknown items, not scored: {name}" in done.stdout
    done = run("recommend", "--user", name, "--address", address, "--top-k", "1")
    assert f"user {name}: 1 of" in done.stdout


def test_similar_prints_names_and_sources(address: str) -> None:
    done = run("similar", "--item", "i3", "--address", address, "--likeness", "content")
    assert done.returncode == 0, done.stderr
    assert "like Item 3 (i3)" in done.stdout
    assert "content" in done.stdout
    assert run("similar", "--item", "nope", "--address", address).returncode == 2


def test_a_bad_request_ends_with_exit_code_2_and_every_bad_field(address: str) -> None:
    done = run("rank", "--user", "", "--address", address, "--item", "a", "--item", "a", "--temperature", "-1")
    assert done.returncode == 2
    assert "user_id is empty; item_ids[1] repeats item_ids[0]: 'a'; temperature" in done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--address", "127.0.0.1:99999"], "address: 127.0.0.1:99999: ports end at 65535"),
        (["--address", ""], "address: is empty"),
        (["--address", "http://127.0.0.1:1"], "address: http://127.0.0.1:1: is a web page's; give host:port, without"),
        (["--timeout", "inf"], "timeout: is not above 0"),
    ],
)
def test_what_cannot_be_called_ends_with_exit_code_2(given: list[str], said: str) -> None:
    for command in (["rank", "--user", "u1"], ["health"]):
        done = run(*command, *given)
        assert done.returncode == 2
        assert said in done.stderr


def test_no_server_ends_with_exit_code_1() -> None:
    done = run("rank", "--user", "u1", "--address", "127.0.0.1:1", "--timeout", "1")
    assert done.returncode == 1
    assert "UNAVAILABLE" in done.stderr


def test_a_taken_port_ends_with_exit_code_2(address: str, trained: Shop) -> None:
    port = address.rpartition(":")[2]
    done = subprocess.run(
        serve_command(trained, "--port", port), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert f"127.0.0.1:{port}: cannot listen there; is the port taken?" in done.stderr


def test_serving_without_a_model_ends_with_exit_code_2_and_what_to_do(trained: Shop, tmp_path: Path) -> None:
    done = run("serve", "--data", str(trained.paths.root), "--model-repository", str(tmp_path), "--port", "0")
    assert done.returncode == 2
    assert "no active model; run `shoprank train` first" in done.stderr
