"""A bad bundle is refused, whatever is wrong with it, and the old version goes on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shoprank import Client, ServerError, bundle
from shoprank.models import Version
from tests.integration.models.conftest import Served


def rehash(directory: Path, **fields: object) -> None:
    """Make the manifest's hashes those of the files as they are."""
    path = directory / bundle.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: bundle.sha256(directory / name) for name in manifest["files"]}
    path.write_text(json.dumps({**manifest, **fields}))


def alter_a_byte(directory: Path) -> None:
    content = bytearray((directory / bundle.MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (directory / bundle.MODEL).write_bytes(content)


def truncate(directory: Path) -> None:
    content = (directory / bundle.MODEL).read_bytes()
    (directory / bundle.MODEL).write_bytes(content[: len(content) // 2])


def no_manifest(directory: Path) -> None:
    (directory / bundle.MANIFEST).unlink()


def manifest_is_a_pipe(directory: Path) -> None:
    no_manifest(directory)
    os.mkfifo(directory / bundle.MANIFEST)


def manifest_has_no_end(directory: Path) -> None:
    no_manifest(directory)
    (directory / bundle.MANIFEST).symlink_to("/dev/zero")


def golden_file_is_a_pipe(directory: Path) -> None:
    no_golden_file(directory)
    os.mkfifo(directory / bundle.GOLDEN)


def no_golden_file(directory: Path) -> None:
    (directory / bundle.GOLDEN).unlink()


def golden_is_no_archive(directory: Path) -> None:
    (directory / bundle.GOLDEN).write_bytes(b"no zip file")
    rehash(directory)


def other_golden_answers(directory: Path) -> None:
    with np.load(directory / bundle.GOLDEN) as golden:
        answers = dict(golden)
    answers["probability"] = answers["probability"] + np.float32(0.01)
    np.savez(directory / bundle.GOLDEN, **answers)
    rehash(directory)


def other_schema(directory: Path) -> None:
    manifest = json.loads((directory / bundle.MANIFEST).read_text())
    rehash(directory, numeric=["user_moon_phase", *manifest["numeric"][1:]])


def garbage_for_a_graph(directory: Path) -> None:
    for graph in directory.glob("*.onnx"):
        graph.write_bytes(np.random.default_rng(0).bytes(5_000))
    rehash(directory)


def manifest_of_another_version(directory: Path) -> None:
    rehash(directory, version=3)


def sources_of_another_shop(directory: Path) -> None:
    with np.load(directory.with_name("1") / bundle.RETRIEVAL) as sources:
        arrays = dict(sources)
    arrays["item_ids"] = np.array([f"other {item_id}" for item_id in arrays["item_ids"]])
    np.savez(directory / bundle.RETRIEVAL, **arrays)
    names = [*json.loads((directory / bundle.MANIFEST).read_text())["files"], bundle.RETRIEVAL]
    rehash(directory, files={name: bundle.sha256(directory / name) for name in names})


SPOILERS = {
    alter_a_byte: "SHA-256",
    truncate: "SHA-256",
    no_manifest: "no such file",
    manifest_is_a_pipe: "no plain file",
    manifest_has_no_end: "no plain file",
    golden_file_is_a_pipe: "missing, though the manifest names it",
    no_golden_file: "missing, though the manifest names it",
    golden_is_no_archive: "no NumPy archive",
    other_golden_answers: "golden answers differ",
    other_schema: "features differ",
    garbage_for_a_graph: "no ONNX model",
    sources_of_another_shop: "has 0 of the 150 items that purchase version 2 proposes; it is of another shop",
    manifest_of_another_version: "its manifest is of purchase version 3",
}


@pytest.mark.parametrize(("spoil", "why"), SPOILERS.items(), ids=[s.__name__ for s in SPOILERS])
def test_a_bad_bundle_is_refused_and_the_old_version_serves(
    serve: Callable[..., Served],
    repository: Path,
    spoil: Callable[[Path], None],
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(repository / "purchase" / "2")
    served = serve()
    with Client(served.address, timeout=10) as client:
        before = client.rank("u1")
        with pytest.raises(ServerError) as error:
            served.admin.activate("purchase", 2)
        assert error.value.code == "FAILED_PRECONDITION"
        assert why in str(error.value)
        assert bundle.linked(repository, "purchase") == 1
        point_at(repository, 2)
        refused = _until_refused(served, 2)
        time.sleep(0.3)
        assert client.rank("u1") == before
    assert why in refused.reason
    said = [r.getMessage() for r in caplog.records if "version 2 is refused" in r.getMessage()]
    assert len(said) == served.running.models.served.counts.refusals == 1
    assert [r for r in caplog.records if r.levelno >= logging.ERROR and "cannot be followed" in r.getMessage()] == []


def test_a_bundle_that_is_copied_slowly_serves_once_it_is_whole(serve: Callable[..., Served], repository: Path) -> None:
    """The link comes first, the manifest next, the graphs last and in pieces."""
    shutil.move(repository / "purchase" / "2", repository.parent / "2")
    served = serve()
    target = repository / "purchase" / "2"
    target.mkdir()
    point_at(repository, 2)
    for file in sorted((repository.parent / "2").iterdir(), key=lambda p: p.name != bundle.MANIFEST):
        content = file.read_bytes()
        with (target / file.name).open("wb") as out:
            for at in range(0, len(content), len(content) // 3 + 1):
                out.write(content[at : at + len(content) // 3 + 1])
                out.flush()
                time.sleep(0.08)
                assert served.running.models.served.counts.refusals == 0
    _until(lambda: served.running.models.served.of("").manifest.version == 2)
    assert served.running.models.served.counts.refusals == 0


def test_a_bundle_deleted_while_it_serves_serves_from_memory(serve: Callable[..., Served], repository: Path) -> None:
    served = serve()
    with Client(served.address, timeout=10) as client:
        before = client.rank("u1")
        shutil.rmtree(repository / "purchase" / "1")
        time.sleep(0.4)
        assert client.rank("u1") == before
    assert served.running.models.served.counts.refusals == 0


def point_at(repository: Path, version: int) -> None:
    """Switch `current` without a look at the bundle, as somebody might by hand."""
    link = repository / "purchase" / bundle.CURRENT
    staged = link.with_name("staged")
    staged.symlink_to(str(version))
    staged.replace(link)


def _until_refused(served: Served, version: int) -> Version:
    def found() -> Version:
        (model,) = served.admin.list("purchase")
        return next(v for v in model.versions if v.version == version)

    _until(lambda: found().state == "refused")
    return found()


def _until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
