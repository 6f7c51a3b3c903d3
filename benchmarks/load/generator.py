"""Starts generators in processes of their own and asks them for measurements."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from benchmarks.load.job import Job, outcome_from_line
from benchmarks.load.outcome import Outcome


class Generator:
    """One or several generator processes that share each job's rate or clients between them."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def measure(self, job: Job) -> Outcome:
        """Have the job done. Raises RuntimeError where a generator ended instead."""
        count = len(self._processes)
        for i, process in enumerate(self._processes):
            part = replace(
                job,
                rate=None if job.rate is None else job.rate / count,
                clients=max(1, job.clients // count),
                seed=job.seed * count + i,
            )
            assert process.stdin is not None
            process.stdin.write(part.to_line() + "\n")
            process.stdin.flush()
        return Outcome.together([self._answer(process) for process in self._processes])

    @staticmethod
    def _answer(process: subprocess.Popen[str]) -> Outcome:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("a load generator ended; its standard error says why")
        return outcome_from_line(line)


@contextmanager
def generator(cores: Collection[int], processes: int = 1) -> Iterator[Generator]:
    """So many generator processes on the given cores."""
    command = [sys.executable, "-m", "benchmarks.load", "--cores", ",".join(map(str, sorted(cores)))]
    with ExitStack() as stack:
        started = []
        for _ in range(processes):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            started.append(process)
        yield Generator(started)
