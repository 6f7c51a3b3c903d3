"""What a developer of shoprank runs: test, lint, bench, clean."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.options import DataDir, ModelRepository
from shoprank.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TESTS_ALONE = ("tests/integration/process", "tests/integration/test_load.py")
"""Tests that put servers under load and hold them to times: nothing else runs beside them."""
MOST_AT_ONCE = 4
"""Test processes at most; each that trains takes about 1 GB."""
PACKAGES = ("shoprank", "server", "training", "feature_repo", "benchmarks", "tests")

bench = typer.Typer(help="Measure; results go to benchmarks/results/.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context) -> None:
    """Run the tests: files side by side, then those that need the machine to themselves.

    With further arguments pytest runs by itself, and they are its own.
    """
    if context.args:
        _run("pytest", *context.args)
        return
    count = min((os.cpu_count() or 1) + 1, MOST_AT_ONCE)  # many wait for a server or a clock
    others = [f"--ignore={path}" for path in TESTS_ALONE]
    codes = [_code("pytest", f"-n{count}", "--dist=loadfile", *others, "tests"), _code("pytest", *TESTS_ALONE)]
    if any(codes):
        raise typer.Exit(next(filter(None, codes)))


@app.command()
def lint() -> None:
    """Check style with ruff and types with mypy."""
    _run("ruff", "check", ".")
    _run("ruff", "format", "--check", ".")
    _run("mypy")


@app.command()
def clean(
    data: DataDir = Path("data"),
    model_repository: ModelRepository = Path("model_repository"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove data and models that the jobs made."""
    made = [(data, ("quality.json", "*/quality.json", "ingest.tmp")), (model_repository, ("*/*/manifest.json",))]
    there = [folder for folder, signs in made if _is_made(folder, signs)]
    named = " and ".join(map(str, there))
    if not there:
        print(f"clean: there is neither {data} nor {model_repository}")
        return
    if not yes:
        typer.confirm(f"Remove {named}?", abort=True)
    for folder in there:
        shutil.rmtree(folder)
    print(f"clean: removed {named}")


def _is_made(folder: Path, signs: Sequence[str]) -> bool:
    """Whether a folder is there, which a job has made. Raises UserError for one of something else."""
    if not folder.exists():
        return False
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{folder}: is no folder; nothing was removed")
    if any(folder.iterdir()) and not any(next(folder.glob(sign), None) for sign in signs):
        raise UserError(f"{folder}: holds nothing that shoprank made; nothing was removed")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise UserError(f"{folder}: holds the folder this was called in; nothing was removed")
    return True


@bench.command("serving")
def bench_serving(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """Latency and throughput of ranking beside an empty gRPC handler; needs h2load and redis-server."""
    _run("benchmarks.serving", "--data", str(data), "--model-repository", str(model_repository))


@bench.command("phases")
def bench_phases(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """Where the time of a request goes, in process."""
    _run("benchmarks.phases", "--data", str(data), "--model-repository", str(model_repository))


@bench.command("open")
def bench_open(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """Latency of calls that come on a schedule, beside an empty gRPC handler; needs h2load."""
    _run("benchmarks.open_loop", "--data", str(data), "--model-repository", str(model_repository))


@bench.command("workers")
def bench_workers(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """What a second worker process brings; needs h2load."""
    _run("benchmarks.workers", "--data", str(data), "--model-repository", str(model_repository))


@bench.command("peers")
def bench_peers(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """Ranking by Feast, MLServer and TensorFlow beside ours; installs them apart; needs redis-server."""
    _run("benchmarks.peers", "--data", str(data), "--model-repository", str(model_repository))


@bench.command("report")
def bench_report() -> None:
    """Write the tables of docs/benchmarks.md anew from the last results, and print the targets."""
    _run("benchmarks.report")
    _run("benchmarks.targets")


@bench.command("batch")
def bench_batch(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """Batch scoring beside a raw ONNX Runtime loop, and rankings over a stream beside single calls."""
    _run("benchmarks.batch", "--data", str(data), "--model-repository", str(model_repository))


@bench.command("recommend")
def bench_recommend(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """Latency of RecommendItems beside RankItems of 100 candidates."""
    _run("benchmarks.recommend", "--data", str(data), "--model-repository", str(model_repository))


@bench.command("demo")
def bench_demo() -> None:
    """Time and memory of the demo in an empty folder, and of the same again."""
    _run("benchmarks.demo")


@bench.command("parity")
def bench_parity(data: DataDir = Path("data")) -> None:
    """Features of 10,000 rows of the training set beside those served at the same moment, bit for bit."""
    _run("benchmarks.parity", "--data", str(data))


@bench.command("features")
def bench_features() -> None:
    """Reading and writing online features beside Feast's SQLite and Redis stores; needs redis-server."""
    _run("benchmarks.features")


@bench.command("security")
def bench_security() -> None:
    """What authentication, roles and pseudonyms add to a call."""
    _run("benchmarks.security")


@bench.command("telemetry")
def bench_telemetry() -> None:
    """What metrics, phases and a request id add to a call."""
    _run("benchmarks.telemetry_cost")


@bench.command("swaps")
def bench_swaps(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """200 changes of the active version under load: calls failed, versions mixed, latency."""
    _run("benchmarks.swaps", "--data", str(data), "--model-repository", str(model_repository))


@bench.command("ingest")
def bench_ingest() -> None:
    """Time and memory of ingest and features on 8,000,000 synthetic shop-log events."""
    _run("benchmarks.ingest")


@bench.command("overload")
def bench_overload(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """Goodput and latency at twice the peak, beside plainer ways to shed load; needs two cores."""
    _run("benchmarks.overload", "--data", str(data), "--model-repository", str(model_repository))


@bench.command("transport")
def bench_transport() -> None:
    """Ways to serve gRPC from Python: thread pools, asyncio, uvloop; needs two cores."""
    _run("benchmarks.transport")


@bench.command("spread")
def bench_spread() -> None:
    """How evenly the kernel spreads connections over workers."""
    _run("benchmarks.spread")


@bench.command("soak")
def bench_soak(
    data: DataDir = Path("data"),
    model_repository: ModelRepository = Path("model_repository"),
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 20.0,
) -> None:
    """Keep a server busy and look whether its memory grows."""
    folders = ("--data", str(data), "--model-repository", str(model_repository))
    _run("benchmarks.soak", *folders, "--minutes", str(minutes))


@bench.command("fuzz")
def bench_fuzz(data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository")) -> None:
    """Send a server malformed messages and connections."""
    _run("benchmarks.fuzz", "--data", str(data), "--model-repository", str(model_repository))


def _code(module: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=False).returncode


def _run(module: str, *arguments: str) -> None:
    if code := _code(module, *arguments):
        raise typer.Exit(code)
