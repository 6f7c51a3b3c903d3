"""What the audit of dependencies finds."""

from __future__ import annotations

import pytest

from shoprank.cli.audit import disagreements, findings, is_permitted, pinned, undeclared, unhashed

HASH = "--hash=sha256:" + "a" * 64


def test_a_lock_of_pins_with_hashes_is_good() -> None:
    lock = f"# via x\nA_b.c==1.0 \\\n    {HASH} \\\n    {HASH}\n"
    lock += f'd[e]==2.0 ; sys_platform == "linux" \\\n    {HASH}\n    # via f\n'
    assert unhashed("lock", lock) == []
    assert dict(pinned(lock)) == {"a-b-c": "1.0", "d": "2.0"}


@pytest.mark.parametrize(
    "entry",
    [
        "a==1.0",
        f"a>=1.0 {HASH}",
        f"a @ file:///a.whl {HASH}",
        "--index-url file:///simple",
        "-e .",
        "a==1.0 --hash=md5:00",
    ],
)
def test_anything_else_is_named(entry: str) -> None:
    (problem,) = unhashed("lock", f"b==1.0 \\\n    {HASH}\n{entry}\n")
    assert entry[:10] in problem


def test_locks_that_disagree_are_named() -> None:
    assert disagreements({"one": {"a": "1", "b": "1"}, "two": {"a": "2", "b": "1"}}) == [
        "a: locks disagree: {'one': '1', 'two': '2'}"
    ]


def test_a_dependency_that_no_lock_has_is_named() -> None:
    project = {
        "project": {"name": "own", "dependencies": ["a>=1"], "optional-dependencies": {"x": ["own[y]", "B_c>2"]}}
    }
    assert undeclared(project, {"a": "1", "b-c": "3"}) == []
    assert undeclared(project, {"a": "1"}) == ["b-c: in pyproject.toml and in no lock; compile the locks anew"]


@pytest.mark.parametrize(
    ("expression", "permitted"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("BSD-3-Clause AND 0BSD AND MIT", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
        ("GPL-3.0-only", False),
        ("MIT AND AGPL-3.0-only", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("", False),
    ],
)
def test_a_licence_is_permitted_or_not(expression: str, permitted: bool) -> None:
    assert is_permitted(expression) is permitted


def test_a_package_that_was_not_looked_up_is_no_clean_one() -> None:
    report = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": []},
            {"name": "b", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]},
            {"name": "c", "skip_reason": "not found"},
        ]
    }
    assert findings(report) == ["b 1: X-1, fixed in 2", "c: not looked up: not found"]
