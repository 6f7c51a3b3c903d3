"""The image's recipe."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.deployment import COMPOSE, CONTAINER, DEPLOY, ROOT, YAML, documents

RECIPE = (CONTAINER / "Containerfile").read_text().replace("\\\n", " ")
VERSION = re.compile(r"^[a-z0-9./-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*$")


def images(value: Any) -> list[str]:
    """Values of `image`, at any depth."""
    if isinstance(value, list):
        return [image for each in value for image in images(each)]
    if isinstance(value, dict):
        own = [value["image"]] if isinstance(value.get("image"), str) else []
        return own + [image for each in value.values() for image in images(each)]
    return []


def test_every_image_is_pinned_to_a_version() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", RECIPE, re.MULTILINE)
    named = [image for image in re.findall(r"^FROM (\S+)", RECIPE, re.MULTILINE) if image not in stages]
    named += [image for path in YAML for document in documents(path) for image in images(document)]
    assert len(named) > 5
    assert [image for image in named if not VERSION.match(image)] == []


def test_our_images_have_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for path in YAML:
        for document in documents(path):
            for image in images(document):
                if image.startswith("shoprank"):
                    assert image.endswith(f":{version}"), path


def test_packages_come_from_locks_with_hashes_and_without_a_compiler() -> None:
    installs = [line for line in RECIPE.splitlines() if "/pip install" in line]
    assert installs
    for line in installs:
        assert ("--require-hashes --only-binary :all:" in line) or ("--no-deps --no-index /wheels/" in line), line
    assert "apt-get" not in RECIPE


def test_the_server_image_has_the_servers_packages_and_an_unprivileged_user() -> None:
    last = RECIPE[RECIPE.rindex("\nFROM ") :]
    assert " base AS server" in last
    assert "--from=server-install" in last
    assert "USER 10001:10001" in RECIPE
    assert "requirements-training" not in RECIPE[RECIPE.index("AS server-install") : RECIPE.index("AS jobs-install")]


def test_what_is_copied_exists_and_reaches_the_build() -> None:
    kept = {
        line.removeprefix("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for line in re.findall(r"^COPY (.*)$", RECIPE, re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        if "--from=" in line:
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(Path(source).is_relative_to(name) for name in kept), source


def test_docker_and_podman_leave_out_the_same() -> None:
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()


@pytest.mark.parametrize("script", ["entrypoint", "prepare"])
def test_scripts_are_sh_and_executable(script: str) -> None:
    path = CONTAINER / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", path], check=True)


def test_the_entrypoint_copies_what_was_compiled_once_and_runs_the_command(tmp_path: Path) -> None:
    compiled, cache, commands = tmp_path / "compiled", tmp_path / "cache", tmp_path / "bin"
    compiled.mkdir()
    (compiled / "index.nbi").write_text("of the build")
    commands.mkdir()
    (commands / "shoprank").write_text('#!/bin/sh\necho "shoprank $*"\n')
    (commands / "shoprank").chmod(0o755)
    places = {"PATH": f"{commands}:/usr/bin:/bin", "COMPILED_DIR": str(compiled), "NUMBA_CACHE_DIR": str(cache)}
    for contents in ("of the build", "of this machine"):
        done = subprocess.run(
            ["sh", CONTAINER / "entrypoint", "serve", "--port", "0"],
            env=places, check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout == "shoprank serve --port 0\n"
        assert (cache / "index.nbi").read_text() == contents
        (cache / "index.nbi").write_text("of this machine")


def test_compose_builds_what_kubernetes_runs() -> None:
    (compose,) = documents(COMPOSE)
    built = {service["image"] for service in compose["services"].values() if "build" in service}
    run = {
        image
        for path in (DEPLOY / "kubernetes").rglob("*.yaml")
        for document in documents(path)
        for image in images(document)
        if image.startswith("shoprank")
    }
    assert built == run
