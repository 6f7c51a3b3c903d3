"""Runs a command, and ends with its exit code."""

from __future__ import annotations

import sys

from shoprank.cli import INTERRUPTED
from shoprank.cli.app import app
from shoprank.cli.interrupts import interruptible
from shoprank.errors import ServerError, ShoprankError, UserError


def run() -> None:
    """Run what the arguments say. Exit code 2 for a user's mistake, 1 for a failure, 130 after Ctrl-C."""
    try:
        with interruptible():
            app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
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
