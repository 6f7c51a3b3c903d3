"""The `shoprank` command: a thin edge over the Python API; each command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys

from shoprank.cli.interrupts import interruptible
from shoprank.errors import ServerError, ShoprankError, UserError

OWN_POLLING = {"GRPC_EXPERIMENTS": "-event_engine_listener"}
"""A server's core then watches its connections on the threads that answer, without a hand-over from threads of its own
(docs/decisions/0015-transport.md). gRPC reads it from the environment as it is imported."""
QUIET = {"GRPC_VERBOSITY": "NONE"}
"""gRPC's core then does not write a line of its own for whatever a stranger sends a server."""


def main() -> None:
    """Run the command line. Exit code 2 for a user's mistake, 1 for a failure, 130 after Ctrl-C."""
    for name, value in (OWN_POLLING | QUIET).items():
        os.environ.setdefault(name, value)
    try:
        from shoprank.cli.app import app
    except ModuleNotFoundError as missing:
        sys.exit(f"shoprank: the command line needs {missing.name}; install shoprank[cli]")
    try:
        with interruptible():
            app()
    except KeyboardInterrupt:
        sys.exit(130)
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
