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
        sys.exit(interrupts.exit_code)
    except SystemExit as end:
        if interrupts.heard and end.code == INTERRUPTED:  # what Typer makes of each KeyboardInterrupt
            sys.exit(interrupts.exit_code)
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
    except OSError as error:
        if error.filename is None:  # of no file: who reads of it wants to know where it came from
            raise
        print(f"shoprank: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
