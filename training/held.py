"""A data folder that one job at a time changes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from shoprank.errors import Conflict, UserError


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Enclose work that replaces what lies in the folder, which is made where it is missing.

    The lock ends with the process that holds it, however that ends. Raises Conflict while another job has it, and
    UserError where the folder cannot be made or locked.
    """
    with ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(root, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            jobs = "`shoprank ingest`, `features` or `dataset`"
            raise Conflict(f"{root}: another {jobs} writes into this folder") from error
        except OSError as error:
            raise UserError(f"{root}: cannot be written: {error.strerror}") from error
        yield
