"""Runs a command, and ends with its exit code."""

from __future__ import annotations

import sys

from shoprank.cli import INTERRUPTED
from shoprank.cli.app import app
from shoprank.cli.interrupts import Interrupts, interruptible
from shoprank.errors import ServerError, ShoprankError, UserError


def run() -> None:
    """Run what the arguments say. Exit code 2 for a user's mistake, 1 for a failure, 130 after Ctrl-C, 143 after
    SIGTERM."""
    interrupts = Interrupts()
    try:
        with interruptible(interrupts):
            app()
    except KeyboardInterrupt:
        _end(interrupts.exit_code)
    except SystemExit as end:
        if interrupts.heard and end.code == INTERRUPTED:  # what Typer makes of each KeyboardInterrupt
            _end(interrupts.exit_code)
        raise
    except ModuleNotFoundError as missing:
        print(
            f"shoprank: this command needs {missing.name}; install shoprank[server] or shoprank[training]",
            file=sys.stderr,
        )
        sys.exit(1)
    except UserError as error:
        print(f"shoprank: {error}", file=sys.stderr)
        sys.exit(2)
    except ShoprankError as error:
        print(f"shoprank: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ServerError) and error.code in ServerError.OF_USERS else 1)
    except Exception as error:
        if (reason := _of_files(error)) is None:
            raise
        print(f"shoprank: {reason}", file=sys.stderr)
        sys.exit(1)


def _of_files(error: Exception) -> str | None:
    """What was wrong where a file could not be read or written, in a line; None for any other error."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    libraries = (("duckdb", "Error"), ("pyarrow", "ArrowException"))
    kinds = tuple(getattr(sys.modules[name], kind) for name, kind in libraries if name in sys.modules)
    return str(error).partition("\n")[0] if isinstance(error, kinds) else None


def _end(code: int) -> None:
    """Exit after an interrupt. Python remembers one that left an `exec`, as imports make use of, and would, run as a
    module, end by SIGINT in place of this code; another `exec` makes it forget."""
    exec("")
    sys.exit(code)
