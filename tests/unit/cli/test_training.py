"""`shoprank train` prints what it made, names a mistake, and leaves nothing half done."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shoprank import bundle
from shoprank.cli import main
from tests.unit.training.table.tables import mixed, write_csv

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `shoprank train` in this process and gives its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["shoprank", "train", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture
def table(tmp_path: Path) -> str:
    return str(write_csv(tmp_path / "table.csv", mixed(500)))


def test_training_on_a_table_ends_with_its_metrics_and_where_the_bundle_is(
    run: Run, table: str, tmp_path: Path
) -> None:
    code, out, _ = run("--table", table, "--label", "bought", "--epochs", "2", "--model", "shop")
    assert code == 0
    assert "column 'plan' dropped: every cell is basic" in out
    for word in ("MLP", "logistic regression", "roc_auc", "log_loss"):
        assert word in out
    assert out.splitlines()[-1] == "train: shop version 1 in model_repository/shop/1"
    manifest = bundle.verify(bundle.current(tmp_path / "model_repository", "shop"))
    assert manifest.training["settings"]["epochs"] == 2


def test_settings_reach_the_bundle(run: Run, table: str, tmp_path: Path) -> None:
    code, out, _ = run(
        *("--table", table, "--label", "bought", "--positive", "no", "--time-column", "joined"),
        *("--id-columns", "customer_id,spent", "--head", "softmax", "--epochs", "1", "--batch-size", "50"),
        *("--class-weight", "2", "--seed", "3", "--model-repository", "elsewhere"),
    )
    assert code == 0, out
    manifest = bundle.Manifest.read(tmp_path / "elsewhere" / "table" / "1")
    settings = manifest.training["settings"]
    assert manifest.head == "softmax"
    assert (settings["batch_size"], settings["class_weight"], settings["seed"]) == (50, 2.0, 3)
    assert manifest.training["table"]["label"]["mapping"] == {"no": 1, "yes": 0}
    assert "spent" not in manifest.numeric


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--table", "nowhere.csv", "--label", "bought"), "shoprank: nowhere.csv: no such file"),
        (("--table", "table.csv", "--label", "sold"), "shoprank: table.csv: no column 'sold'"),
        (
            ("--table", "table.csv", "--label", "plan"),
            "label column 'plan' must have two values, but every cell is 'basic'",
        ),
        (("--table", "table.csv"), "--table needs --label"),
        (("--label", "bought"), "--label bought: only with --table"),
        (("--time-column", "joined"), "--time-column joined: only with --table"),
        (("--data", "empty"), "empty/dataset/dataset.json: no such file; run `shoprank dataset` first"),
        (("--epochs", "0"), "--epochs"),
    ],
)
def test_mistake_ends_with_2_and_is_named_on_standard_error(
    run: Run, table: str, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_failure_that_is_no_mistake_ends_with_1(run: Run, table: str, tmp_path: Path) -> None:
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / Path(table).stem).write_text("a file where the model's folder should be")
    code, _, err = run("--table", table, "--label", "bought", "--epochs", "1", "--model-repository", "occupied")
    assert code == 1
    assert "occupied" in err
    assert "Traceback" not in err


def test_interrupt_ends_with_130_keeps_the_earlier_version_and_can_be_run_again(
    run: Run, table: str, tmp_path: Path
) -> None:
    arguments = ["--table", table, "--label", "bought", "--model-repository", str(tmp_path / "models")]
    assert run(*arguments, "--epochs", "1")[0] == 0
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "long").mkdir()
    long = write_csv(tmp_path / "long" / "table.csv", mixed(20_000))  # no machine is through with it in a second
    slow = ("--table", str(long), "--epochs", "1000", "--batch-size", "1")
    process, terminal = start_on_terminal(*arguments, *slow, TMPDIR=str(scratch))
    try:
        read_until(terminal, "train ", seconds=60)
        read_until(terminal, None, seconds=1)  # some steps more
        assert any(scratch.glob("shoprank-table-*/dataset/test/*.parquet"))
        process.send_signal(signal.SIGINT)
        said = read_until(terminal, None, seconds=30)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        os.close(terminal)
    assert "Traceback" not in said
    assert not any(scratch.glob("shoprank-table-*"))
    assert sorted(p.name for p in (tmp_path / "models" / "table").iterdir()) == ["1", bundle.CURRENT]
    assert bundle.current(tmp_path / "models", "table").name == "1"
    assert run(*arguments, "--epochs", "1")[0] == 0
    assert bundle.current(tmp_path / "models", "table").name == "2"


def start_on_terminal(*arguments: str, **environment: str) -> tuple[subprocess.Popen[bytes], int]:
    """`shoprank train` as a process whose standard error is a terminal, and the other end of that terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from shoprank.cli import main; main()", "train", *arguments],
        env={**os.environ, "TERM": "xterm", **environment},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        # A job in the background hands "ignore SIGINT" down; a person at a terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    return process, ours


def read_until(terminal: int, word: str | None, seconds: float) -> str:
    """What the terminal shows until `word` does, until it is closed where `word` is None, or for `seconds`."""
    shown = ""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            shown += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # how Linux tells that the other end is closed
            return shown
        if word and word in shown:
            return shown
    assert word is None, f"{word!r} was not shown: {shown}"
    return shown
