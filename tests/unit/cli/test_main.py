"""A command can be interrupted from its first moment on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

INTERRUPTED_IN_AN_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.{handler})
sys.meta_path.insert(0, Interrupting())
sys.argv = ["shoprank", "models", "list", "--model-repository", {repository!r}]
from shoprank.cli import main
main()
"""


def interrupted_in_import_of(module: str, repository: Path, handler: str) -> subprocess.CompletedProcess[str]:
    """`shoprank models list`, interrupted as it begins to import the module."""
    program = INTERRUPTED_IN_AN_IMPORT.format(module=module, repository=str(repository), handler=handler)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_an_interrupt_of_the_imports_ends_with_130_and_says_nothing(tmp_path: Path) -> None:
    for module in ("typer", "shoprank.errors", "shoprank.cli.training"):
        done = interrupted_in_import_of(module, tmp_path, "default_int_handler")
        assert (done.returncode, done.stdout, done.stderr) == (130, "", ""), module


def test_a_job_in_the_background_goes_on_ignoring_interrupts_of_its_imports(tmp_path: Path) -> None:
    done = interrupted_in_import_of("typer", tmp_path, "SIG_IGN")
    assert done.returncode == 0, done.stderr


def test_the_handler_of_interrupts_is_as_before_when_a_command_has_run(tmp_path: Path) -> None:
    program = (
        "import signal, sys\nfrom shoprank.cli import main\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )
    program += f"sys.argv = ['shoprank', 'models', 'list', '--model-repository', {str(tmp_path)!r}]\n"
    program += "try:\n    main()\nfinally:\n    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
