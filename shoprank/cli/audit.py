"""The audit of dependencies: pins and hashes of the locks, licences, and, where they can be had, advisories."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from shoprank.cli.app import app
from shoprank.cli.development import ROOT
from shoprank.errors import ShoprankError, UserError

PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+?)\s*(?:;[^\\]*)?(?:\\|$)")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
NAME = re.compile(r"[A-Za-z0-9._-]+")
ADVISORIES_SECONDS = 300
BENCHMARK_LOCKS = "benchmarks/**/requirements-*.txt"
"""Locks of environments that benchmarks make beside shoprank's own; these need not agree with its locks."""

PERMITTED = frozenset(
    {
        "0bsd", "apache", "apache license", "apache license 2.0", "apache license, version 2.0",
        "apache software license",
        "apache-2.0", "apache-2.0 with llvm-exception", "bsd", "bsd license", "bsd-2-clause", "bsd-3-clause",
        "3-clause bsd license", "cc0-1.0", "hpnd", "isc", "isc license", "isc license (iscl)", "mit", "mit license",
        "mit-0", "mit-cmu", "mozilla public license 2.0 (mpl 2.0)", "mpl-2.0", "oldap-2.8", "psf-2.0",
        "python software foundation license", "python-2.0", "unlicense", "zlib",
    }
)  # fmt: skip
"""Licences that ask for no more than notices, and the Mozilla licence, which binds changes to its own files alone."""
READ = {"namex": "Apache-2.0"}
"""Licences that a package's metadata does not name; found in the package's own licence file."""


@app.command()
def audit(
    advisories: Annotated[
        bool, typer.Option("--advisories", help="Ask pip-audit about known vulnerabilities too; needs the network.")
    ] = False,
) -> None:
    """Check that all dependencies are pinned with hashes, that locks agree, and that licences are permitted."""
    locks = {file.name: file.read_text() for file in sorted(ROOT.glob("requirements*.txt"))}
    pins = {name: dict(pinned(text)) for name, text in locks.items()}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    every = {name: version for lock in pins.values() for name, version in lock.items()}
    installed = {name: found for name in every if (found := _installed(name)) is not None}
    apart = {str(file.relative_to(ROOT)): file.read_text() for file in sorted(ROOT.glob(BENCHMARK_LOCKS))}
    wrong = [problem for name, text in (locks | apart).items() for problem in unhashed(name, text)]
    wrong += [*disagreements(pins), *undeclared(declared, every)]
    wrong += [f"{n}: licence {said!r} is not among those permitted" for n, said in refused_licences(installed.values())]
    if advisories:
        wrong += known_vulnerabilities(ROOT / "requirements-dev.txt")
    if wrong:
        raise ShoprankError("audit:\n  " + "\n  ".join(wrong))
    asked = "advisories looked up" if advisories else "advisories not looked up"
    print(
        f"audit: {len(every)} packages in {len(locks)} locks are pinned with hashes, "
        f"as are those in {len(apart)} locks of benchmarks; "
        f"licences of the {len(installed)} installed are permitted; {asked}"
    )


def entries(lock: str) -> Iterator[str]:
    """The requirements of a lock, each with its continuation lines as one."""
    joined = re.sub(r"\\\n\s*", "\\\\ ", lock)
    return (line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def pinned(lock: str) -> Iterator[tuple[str, str]]:
    """Name, normalized (PEP 503), and version of every pin."""
    for entry in entries(lock):
        if found := PIN.match(entry):
            yield normalized(found[1]), found[2]


def unhashed(name: str, lock: str) -> list[str]:
    """What in a lock is no pin with a SHA-256: ranges, addresses, options that name an index."""
    return [
        f"{name}: no pinned version with a SHA-256: {entry[:80]}"
        for entry in entries(lock)
        if not PIN.match(entry) or not HASH.search(entry)
    ]


def disagreements(pins: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Packages that two locks pin to different versions."""
    found: dict[str, dict[str, str]] = {}
    for lock, versions in pins.items():
        for name, version in versions.items():
            found.setdefault(name, {})[lock] = version
    return [f"{name}: locks disagree: {seen}" for name, seen in sorted(found.items()) if len(set(seen.values())) > 1]


def undeclared(project: Mapping[str, Any], locked: Mapping[str, str]) -> list[str]:
    """Packages that pyproject.toml asks for and no lock has: the locks are older than it."""
    table = project["project"]
    asked = [*table["dependencies"], *(r for extra in table["optional-dependencies"].values() for r in extra)]
    names = {normalized(found[0]) for requirement in asked if (found := NAME.match(requirement))}
    missing = sorted(names - set(locked) - {normalized(table["name"])})
    return [f"{name}: in pyproject.toml and in no lock; compile the locks anew" for name in missing]


def refused_licences(installed: Iterable[Distribution]) -> list[tuple[str, str]]:
    """Name and licence of packages whose licence is not permitted, or not said."""
    said = [(each.metadata["Name"], licence(each)) for each in installed]
    return [(name, expression) for name, expression in said if not is_permitted(expression)]


def licence(package: Distribution) -> str:
    """The licence a package's metadata names: its expression, else its classifiers, else the first line of its text."""
    metadata = cast(Message, package.metadata)  # what it is; its protocol lacks `get`
    if known := READ.get(normalized(metadata["Name"])):
        return known
    classified = [c.rpartition("::")[2].strip() for c in metadata.get_all("Classifier") or [] if "License ::" in c]
    text = (metadata.get("License") or "").strip().splitlines() or [""]
    return metadata.get("License-Expression") or " AND ".join(c for c in classified if c != "OSI Approved") or text[0]


def is_permitted(expression: str) -> bool:
    """Whether every licence of an SPDX expression is permitted, of alternatives at least one."""
    return all(any(one in PERMITTED for one in part.split(" or ")) for part in expression.lower().split(" and "))


def known_vulnerabilities(lock: Path) -> list[str]:
    """What pip-audit knows against the lock's pins.

    Raises UserError without pip-audit, ShoprankError where it fails.
    """
    program = shutil.which("pip-audit")
    if program is None:
        raise UserError("--advisories: pip-audit is not installed; install it outside of this environment")
    command = [program, "--requirement", str(lock), "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ADVISORIES_SECONDS, check=False)
    try:
        return findings(json.loads(done.stdout))
    except ValueError as error:
        raise ShoprankError(f"pip-audit failed: {done.stderr.strip()[-500:]}") from error


def findings(report: Mapping[str, Any]) -> list[str]:
    """Vulnerabilities of a pip-audit report, and the packages it passed over, which it would call clean."""
    found = []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            found.append(f"{package['name']}: not looked up: {package['skip_reason']}")
        for each in package.get("vulns", []):
            fixed = ", ".join(each["fix_versions"]) or "none yet"
            found.append(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    return found


def normalized(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
