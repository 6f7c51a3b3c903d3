"""The floor: a grpcio server whose handler does nothing but hand over a reply made beforehand.

Run as `python -m benchmarks.floor TRAFFIC…` with folders of recorded traffic. It has our server's transport: as many
threads, and with --processes several processes that share the port.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from benchmarks.load.traffic import Traffic
from server.settings import Settings

SERVICE, METHOD = "shoprank.v1.RankingService", "RankItems"


def handlers(replies: dict[bytes, bytes]) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
    """The method that answers every request with the reply recorded for it, without reading it."""
    return {METHOD: grpc.unary_unary_rpc_method_handler(lambda request, context: replies[request])}


def serve(replies: dict[bytes, bytes], port: int, threads: int) -> None:
    """Listen on the port of the loopback, which other processes may share, until told to stop."""
    server = grpc.server(ThreadPoolExecutor(threads), options=[("grpc.so_reuseport", int(port > 0))])
    methods = handlers(replies)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_registered_method_handlers(SERVICE, methods)  # type: ignore[attr-defined]  # stubs lack it
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print(f"floor: 127.0.0.1:{port}", flush=True)
    wait_for_signal()
    server.stop(1).wait()


def share_port(processes: int, arguments: list[str]) -> None:
    """Run so many floors on one free port until told to stop."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        command = [sys.executable, "-m", "benchmarks.floor", "--port", str(port), *arguments]
        floors = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
        try:
            for floor in floors:
                if floor.stdout is None or not floor.stdout.readline():
                    raise SystemExit("floor: a process did not start")
            print(f"floor: 127.0.0.1:{port}", flush=True)
            wait_for_signal()
        finally:
            for floor in floors:
                floor.terminate()
            for floor in floors:
                floor.wait(30)


def wait_for_signal() -> None:
    """Return at SIGTERM or SIGINT."""
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    told_to_stop.wait()


def main() -> None:
    """Serve recorded replies until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traffic", type=Path, nargs="+", help="folders that Traffic.write filled")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--threads", type=int, default=Settings.model_fields["threads"].default)
    options = parser.parse_args()
    if options.processes > 1:
        share_port(options.processes, ["--threads", str(options.threads), *map(str, options.traffic)])
        return
    traffics = [Traffic.read(folder) for folder in options.traffic]
    recorded = {request: reply for t in traffics for request, reply in zip(t.requests, t.replies, strict=True)}
    serve(recorded, options.port, options.threads)


if __name__ == "__main__":
    main()
