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
STUBS = ROOT / "shoprank" / "v1"


@app.command()
def protos(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where the stubs differ.")] = False,
) -> None:
    """Generate the gRPC stubs in shoprank/v1 from protos/."""
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        stale = differing(made, STUBS)
        if check and stale:
            raise ShoprankError(f"{', '.join(stale)}: not what protos/ gives; run `make protos`")
        if not check:
            shutil.copytree(made, STUBS, dirs_exist_ok=True)
            for name in stale:
                if not (made / name).exists():
                    (STUBS / name).unlink()
        print(f"protos: {len(list(made.iterdir()))} stubs in {STUBS}, {len(stale)} {'differ' if check else 'changed'}")


def generate(folder: Path) -> Path:
    """Generate every stub below `folder` and return the directory they are in."""
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
    made = folder / "shoprank" / "v1"
    (made / "__init__.py").write_text('"""Generated from protos/shoprank/v1 by `make protos`; do not edit."""\n')
    return made


def differing(made: Path, kept: Path) -> list[str]:
    """Names of the files that are not the same in both directories."""
    names = {p.name for folder in (made, kept) if folder.is_dir() for p in folder.iterdir() if p.is_file()}
    return sorted(
        name
        for name in names
        if not (made / name).is_file()
        or not (kept / name).is_file()
        or not filecmp.cmp(made / name, kept / name, shallow=False)
    )
