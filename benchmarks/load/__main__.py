"""The generator's process: reads a job a line, measures, and answers with an outcome a line."""

from __future__ import annotations

import argparse
import os
import resource
import sys
from pathlib import Path

import grpc

from benchmarks.load import closed_loop, open_loop
from benchmarks.load.arrivals import arrivals
from benchmarks.load.job import Job, outcome_to_line
from benchmarks.load.outcome import Outcome
from benchmarks.load.traffic import Traffic

SWITCH_SECONDS = 0.0005
"""Threads of the generator take turns this often: Python's 5 ms would be a call's whole latency."""


def measure(job: Job, traffic: Traffic, channel: grpc.Channel) -> Outcome:
    """Send what the job says, and hold a share of the replies against the right ones."""
    call = channel.unary_unary(job.method, request_serializer=None, response_deserializer=None)
    before = _cpu_seconds()
    if job.rate is None:
        outcome, kept = closed_loop.run(
            call, traffic.requests, job.clients, job.seconds, job.check_every, job.timeout
        )  # fmt: skip
    else:
        moments = arrivals(job.arrivals, job.rate, job.seconds, job.seed)
        what = (traffic.requests, moments, job.check_every, job.timeout)
        if job.client == "plain":
            outcome, kept = open_loop.plainly(job.address, job.method, *what)
        else:
            outcome, kept = open_loop.by_grpcio(call, *what)
        outcome.rate = len(moments) / job.seconds
    outcome.cpu_seconds = _cpu_seconds() - before
    count = len(traffic.requests)
    outcome.checked = len(kept)
    outcome.wrong = traffic.wrong((number % count, reply) for number, reply in kept)
    return outcome


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Answer jobs until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", help="cores to stay on, such as 1 or 0,1; all without it")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    sys.setswitchinterval(SWITCH_SECONDS)
    channels: dict[str, grpc.Channel] = {}
    traffics: dict[str, Traffic] = {}
    for line in sys.stdin:
        job = Job.from_line(line)
        if job.address not in channels:
            channels[job.address] = grpc.insecure_channel(job.address)
        if job.traffic not in traffics:
            traffics[job.traffic] = Traffic.read(Path(job.traffic))
        print(outcome_to_line(measure(job, traffics[job.traffic], channels[job.address])), flush=True)


if __name__ == "__main__":
    main()
