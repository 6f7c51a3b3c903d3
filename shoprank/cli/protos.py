"""The `protos` command: gRPC stubs from the .proto files."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.errors import ShoprankError

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "protos"
STUBS = {Path("shoprank/v1"): ROOT / "shoprank" / "v1", Path("inference"): ROOT / "server" / "inference"}
"""Where the stubs of each folder of protos/ are kept."""
GENERATED = "*_pb2*"

DEFAULT_POOL = "_descriptor_pool.Default()"
OWN_POOL = "_descriptor_pool.DescriptorPool()"
"""Clients of the Open Inference Protocol register its names in protobuf's default pool, which takes each name once:
ours go into a pool of their own, so that such a client may be imported in the same process."""


@app.command()
def protos(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where the stubs differ.")] = False,
) -> None:
    """Generate the gRPC stubs in shoprank/v1 and server/inference from protos/."""
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        stale = differing(made)
        if check and stale:
            raise ShoprankError(f"{', '.join(stale)}: not what protos/ gives; run `make protos`")
        if not check:
            for place, kept in STUBS.items():
                shutil.copytree(made / place, kept, dirs_exist_ok=True)
                for old in {p.name for p in kept.glob(GENERATED)} - {p.name for p in (made / place).iterdir()}:
                    (kept / old).unlink()
        count = sum(1 for place in STUBS for _ in (made / place).iterdir())
        print(f"protos: {count} stubs, {len(stale)} {'differ' if check else 'changed'}")


def generate(folder: Path) -> Path:
    """Generate every stub below `folder` and return it."""
    sources = sorted(str(path) for path in SOURCES.rglob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    scripts = Path(sys.executable).parent
    arguments = [
        f"--proto_path={SOURCES}",
        f"--proto_path={well_known}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--python_out={folder}",
        f"--grpc_python_out={folder}",
        f"--mypy_out=quiet:{folder}",
        f"--mypy_grpc_out=quiet:{folder}",
    ]
    # In a process of its own: the compiler does not bear a second protobuf library in its own.
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments, *sources]
    if code := subprocess.run(command, check=False).returncode:
        raise ShoprankError(f"protoc ended with code {code}")
    (folder / "shoprank" / "v1" / "__init__.py").write_text(
        '"""Generated from protos/shoprank/v1 by `make protos`; do not edit."""\n'
    )
    for unused in (folder / "inference").glob("*_grpc.py*"):
        unused.unlink()  # the server registers services by their descriptors
    set_apart(folder / "inference" / "grpc_service_pb2.py")
    return folder


def set_apart(stub: Path) -> None:
    """Have the stub use a descriptor pool of its own. Raises ShoprankError where it is made differently."""
    text = stub.read_text()
    if text.count(DEFAULT_POOL) != 1:
        raise ShoprankError(f"{stub.name}: does not name {DEFAULT_POOL} once; another version of protoc?")
    stub.write_text(text.replace(DEFAULT_POOL, OWN_POOL))


def differing(made: Path) -> list[str]:
    """Names of the stubs that are not the same in `made` and where they are kept."""
    found = []
    for place, kept in STUBS.items():
        names = {p.name for p in (made / place).iterdir()} | {p.name for p in kept.glob(GENERATED)}
        found += [name for name in sorted(names) if not _same(made / place / name, kept / name)]
    return found


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
