"""Where the commands print: results on standard output, progress on standard error."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console


class Progress(Protocol):
    """Is told the stage of the work, how much of it is done, and how much there is."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def stdout() -> Console:
    """For results, printed as they are: brackets and colons in ids and names are no markup. 120 columns where it is no
    terminal and COLUMNS does not say."""
    from rich.console import Console

    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if told else 120, markup=False, emoji=False)


def stderr() -> Console:
    """For progress and messages."""
    from rich.console import Console

    return Console(file=sys.stderr, markup=False, emoji=False)


def show_contenders(result: dict[str, Any]) -> None:
    """Print who takes part in an evaluation of slates, with NDCG@10, Recall@20 and that of new products."""
    from rich.table import Table

    table = Table("contender", "NDCG@10", "Recall@20", "Recall@20, new products")
    for name, found in result["contenders"].items():
        shown = (found["whole"]["ndcg@10"], found["whole"]["recall@20"], found["explore"]["recall@20"])
        table.add_row(name, *(f"{value['mean']:.4f}" for value in shown))
    stdout().print(table)


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar a stage of the work, on standard error, gone when the work is done."""
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(console=stderr(), transient=True) as bars:
        stages: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done, total=total)

        yield tell


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the chatter of Feast and its libraries off the terminal; errors still come through as exceptions."""
    logging.getLogger("feast").setLevel(logging.ERROR)
    nowhere = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        yield
