"""A bundle is served whole and unaltered or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shoprank import bundle, traffic
from shoprank.errors import BundleError, Conflict, NotFound, UserError
from shoprank.traffic import Share, Traffic


def write_bundle(repository: Path, version: int, model: str = "m") -> Path:
    directory = repository / model / str(version)
    directory.mkdir(parents=True)
    (directory / bundle.MODEL).write_bytes(b"graph %d" % version)
    (directory / bundle.GOLDEN).write_bytes(b"answers")
    manifest = bundle.Manifest(
        model=model,
        version=version,
        kind="table",
        head="sigmoid",
        created_at="2024-01-01T00:00:00+00:00",
        numeric=("a", "b"),
        categorical=("c",),
        categorical_type="string",
        schema_hash="0" * 64,
        training={"rows": {"train": 7}},
        metrics={"roc_auc": 0.75},
        files={name: bundle.sha256(directory / name) for name in (bundle.MODEL, bundle.GOLDEN)},
    )
    (directory / bundle.MANIFEST).write_text(manifest.to_json())
    return directory


def alter(directory: Path, **fields: Any) -> None:
    path = directory / bundle.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def test_manifest_comes_back_from_its_json(tmp_path: Path) -> None:
    directory = write_bundle(tmp_path, 1)
    manifest = bundle.verify(directory)
    (directory / bundle.MANIFEST).write_text(manifest.to_json())
    assert bundle.Manifest.read(directory) == manifest
    assert manifest.numeric == ("a", "b")
    assert manifest != replace(manifest, version=2)


@pytest.mark.parametrize("name", [bundle.MODEL, bundle.GOLDEN])
def test_flipped_byte_is_refused_naming_the_file_and_both_hashes(tmp_path: Path, name: str) -> None:
    directory = write_bundle(tmp_path, 1)
    expected = bundle.sha256(directory / name)
    flip_a_byte(directory / name)
    with pytest.raises(BundleError) as refused:
        bundle.verify(directory)
    for word in (str(directory / name), expected, bundle.sha256(directory / name), "altered"):
        assert word in str(refused.value)


def test_missing_file_is_refused_naming_it(tmp_path: Path) -> None:
    directory = write_bundle(tmp_path, 1)
    (directory / bundle.GOLDEN).unlink()
    with pytest.raises(BundleError, match=r"golden\.npz: missing, though the manifest names it"):
        bundle.verify(directory)


def test_manifest_that_names_no_model_is_refused(tmp_path: Path) -> None:
    directory = write_bundle(tmp_path, 1)
    alter(directory, files={})
    with pytest.raises(BundleError, match=r"names no model\.onnx"):
        bundle.verify(directory)


def test_directory_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"no such file; is {re.escape(str(tmp_path))} a model bundle"):
        bundle.verify(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"text"', "{}", '{"numeric": [], "categorical": []}', "\\ud800", b"\xff\xfe"],
)
def test_malformed_manifest_is_refused_naming_it(tmp_path: Path, content: str | bytes) -> None:
    directory = write_bundle(tmp_path, 1)
    (directory / bundle.MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BundleError, match=r"manifest\.json: not a manifest"):
        bundle.verify(directory)


@pytest.mark.parametrize(
    "fields",
    [
        {"numeric": "ab"},
        {"categorical": [1]},
        {"files": None},
        {"files": ["model.onnx"]},
        {"files": {"model.onnx": 5}},
        {"version": "1"},
        {"thresholds": []},
        {"colour": "red"},
    ],
    ids=str,
)
def test_manifest_with_a_field_of_the_wrong_type_is_refused_naming_it(tmp_path: Path, fields: dict[str, Any]) -> None:
    directory = write_bundle(tmp_path, 1)
    alter(directory, **fields)
    with pytest.raises(BundleError, match=f"not a manifest: .*{next(iter(fields))}"):
        bundle.verify(directory)


@pytest.mark.parametrize("version", ["1", "2", "3", "4", "5"])
def test_what_is_no_plain_file_is_refused_and_keeps_nobody_waiting(tmp_path: Path, version: str) -> None:
    for made in ("1", "2", "4", "5"):
        (tmp_path / made).mkdir()
    os.mkfifo(tmp_path / "1" / bundle.MANIFEST)
    (tmp_path / "2" / bundle.MANIFEST).symlink_to("/dev/zero")
    (tmp_path / "3").symlink_to("3")
    (tmp_path / "4" / bundle.MANIFEST).mkdir()
    (tmp_path / "5" / bundle.MANIFEST).write_text("[" * 100_000)
    with pytest.raises(BundleError, match=rf"{version}/manifest\.json"):
        bundle.Manifest.read(tmp_path / version)


def test_manifest_of_another_format_is_refused_naming_both(tmp_path: Path) -> None:
    directory = write_bundle(tmp_path, 1)
    alter(directory, format=2)
    with pytest.raises(BundleError, match="format 2, but this version reads format 1"):
        bundle.verify(directory)


def test_activation_switches_the_link_and_remembers_the_version_before(tmp_path: Path) -> None:
    for version in (1, 2):
        write_bundle(tmp_path, version)
    bundle.activate(tmp_path, "m", 1)
    before = bundle.current(tmp_path, "m")
    bundle.activate(tmp_path, "m", 2)
    assert (before.name, bundle.current(tmp_path, "m").name) == ("1", "2")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["1", "2", bundle.CURRENT, bundle.PREVIOUS]
    assert (tmp_path / "m" / bundle.PREVIOUS).readlink() == Path("1")
    assert (tmp_path / "m" / bundle.CURRENT).readlink() == Path("2")


def test_activation_is_one_rename_over_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (1, 2):
        write_bundle(tmp_path, version)
    bundle.activate(tmp_path, "m", 1)
    link = tmp_path / "m" / bundle.CURRENT
    seen: list[str] = []
    rename = Path.replace

    def watched(self: Path, target: Path) -> Path:
        if target != link:
            return rename(self, target)
        seen.append(str(link.readlink()))
        moved = rename(self, target)
        seen.append(str(link.readlink()))
        return moved

    monkeypatch.setattr(Path, "replace", watched)
    bundle.activate(tmp_path, "m", 2)
    assert seen == ["1", "2"]


def test_link_left_by_a_killed_activation_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path, 1)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    (tmp_path / "m" / ".current.1").symlink_to("9")
    bundle.activate(tmp_path, "m", 1)
    assert bundle.current(tmp_path, "m").name == "1"


def test_altered_bundle_cannot_be_activated_and_the_earlier_one_stays(tmp_path: Path) -> None:
    write_bundle(tmp_path, 1)
    bundle.activate(tmp_path, "m", 1)
    flip_a_byte(write_bundle(tmp_path, 2) / bundle.MODEL)
    with pytest.raises(BundleError, match="altered"):
        bundle.activate(tmp_path, "m", 2)
    assert bundle.current(tmp_path, "m").name == "1"


def test_version_that_is_not_there_cannot_be_activated(tmp_path: Path) -> None:
    write_bundle(tmp_path, 1)
    with pytest.raises(NotFound, match="no version 2"):
        bundle.activate(tmp_path, "m", 2)


def test_a_version_that_no_message_can_name_is_none(tmp_path: Path) -> None:
    write_bundle(tmp_path, 20261127191700)
    write_bundle(tmp_path, 20261127)
    assert bundle.versions(tmp_path, "m") == [20261127]
    with pytest.raises(NotFound, match="no version 20261127191700"):
        bundle.activate(tmp_path, "m", 20261127191700)
    with pytest.raises(ValueError, match="loaded must be a list of versions"):
        Traffic.parse('{"format": 1, "loaded": [3000000000]}')


@pytest.mark.parametrize("odd", ['{"metrics": {"a": 1' + "0" * 400 + "}}", r'{"schema_hash": "\ud800"}'])
def test_a_manifest_of_what_no_message_can_hold_is_refused(tmp_path: Path, odd: str) -> None:
    directory = write_bundle(tmp_path, 1)
    alter(directory, **json.loads(odd))
    with pytest.raises(BundleError, match="not a manifest"):
        bundle.Manifest.read(directory)


def test_a_repository_that_cannot_be_changed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path, 1)

    def refused(self: Path, *arguments: Any, **how: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "symlink_to", refused)
    with pytest.raises(Conflict, match="m: cannot be changed: Read-only file system"):
        bundle.activate(tmp_path, "m", 1)


def test_the_version_expected_to_be_active_must_be(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        write_bundle(tmp_path, version)
    with pytest.raises(Conflict, match="version none is active, not 1"):
        bundle.activate(tmp_path, "m", 1, expected=1)
    bundle.activate(tmp_path, "m", 1, expected=0)
    bundle.activate(tmp_path, "m", 2, expected=1)
    with pytest.raises(Conflict, match="version 2 is active, not 1"):
        bundle.activate(tmp_path, "m", 3, expected=1)
    assert bundle.linked(tmp_path, "m") == 2


def test_of_many_who_expect_the_same_version_one_activates(tmp_path: Path) -> None:
    for version in range(1, 10):
        write_bundle(tmp_path, version)
    bundle.activate(tmp_path, "m", 1)

    def activate(version: int) -> int:
        try:
            bundle.activate(tmp_path, "m", version, expected=1)
        except Conflict:
            return 0
        return version

    with ThreadPoolExecutor(8) as pool:
        done = [version for version in pool.map(activate, range(2, 10)) if version]
    assert done == [bundle.linked(tmp_path, "m")]


def test_a_rollback_goes_back_and_a_further_one_forth(tmp_path: Path) -> None:
    for version in (1, 2):
        write_bundle(tmp_path, version)
    bundle.activate(tmp_path, "m", 1)
    with pytest.raises(Conflict, match="no version was active before"):
        bundle.rollback(tmp_path, "m")
    bundle.activate(tmp_path, "m", 2)
    assert [bundle.rollback(tmp_path, "m"), bundle.rollback(tmp_path, "m")] == [1, 2]


def test_activating_the_canary_ends_it_and_leaves_the_shadow(tmp_path: Path) -> None:
    for version in (1, 2):
        write_bundle(tmp_path, version)
    bundle.activate(tmp_path, "m", 1)
    traffic.write(tmp_path / "m", Traffic(Share(2, 500), Share(3, 100), (2,)))
    bundle.activate(tmp_path, "m", 2)
    assert traffic.read(tmp_path / "m") == Traffic(None, Share(3, 100), (2,))


def test_a_garbled_traffic_file_does_not_stand_in_the_way_of_a_rollback(tmp_path: Path) -> None:
    for version in (1, 2):
        write_bundle(tmp_path, version)
        bundle.activate(tmp_path, "m", version)
    (tmp_path / "m" / traffic.TRAFFIC).write_text("{")
    assert bundle.rollback(tmp_path, "m") == 1


def test_a_rollback_of_a_model_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"model nope: no version in {tmp_path}"):
        bundle.rollback(tmp_path, "nope")


def test_no_active_model_is_refused_with_what_makes_one_active(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no active model; run `shoprank train` first"):
        bundle.current(tmp_path, "m")
    for version in (1, 2):
        write_bundle(tmp_path, version)
    with pytest.raises(BundleError, match="no active model; run `shoprank models activate 2 --model m` first"):
        bundle.current(tmp_path, "m")


def test_versions_are_whole_numbers_only_and_in_their_order(tmp_path: Path) -> None:
    for version in (10, 9, 1):
        write_bundle(tmp_path, version)
    bundle.activate(tmp_path, "m", 9)
    manifest = (tmp_path / "m" / "1" / bundle.MANIFEST).read_text()
    for name in ("01", "0", "1.5", "-3", "v4", "٣", ".staged.7"):
        (tmp_path / "m" / name).mkdir()
        (tmp_path / "m" / name / bundle.MANIFEST).write_text(manifest)
    (tmp_path / "m" / "11").mkdir()  # and no manifest in it
    assert bundle.versions(tmp_path, "m") == [1, 9, 10]


def test_model_without_versions_has_none(tmp_path: Path) -> None:
    assert bundle.versions(tmp_path, "nothing") == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "x" * 65, "modèle"])
def test_a_models_name_is_a_plain_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="a name has 1 to 64 letters"):
        bundle.current(tmp_path, name)


def test_a_version_copied_to_another_place_is_not_activated(tmp_path: Path) -> None:
    write_bundle(tmp_path, 1).rename(tmp_path / "m" / "2")
    with pytest.raises(BundleError, match="its manifest is of m version 1"):
        bundle.activate(tmp_path, "m", 2)


def test_a_file_outside_the_bundle_is_refused(tmp_path: Path) -> None:
    directory = write_bundle(tmp_path, 1)
    alter(directory, files={"../../model.onnx": "0" * 64})
    with pytest.raises(BundleError, match="is no name of a file beside it"):
        bundle.verify(directory)


def test_a_model_of_one_kind_does_not_bury_one_of_another(tmp_path: Path) -> None:
    write_bundle(tmp_path, 1)
    bundle.require_kind(tmp_path, "m", "table")
    bundle.require_kind(tmp_path, "new", "ranking")
    with pytest.raises(UserError, match="are of kind table, not ranking"):
        bundle.require_kind(tmp_path, "m", "ranking")
