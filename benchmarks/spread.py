"""How evenly the kernel spreads connections over worker processes that share a port.

Run as `python -m benchmarks.spread`; writes benchmarks/results/spread.json. Sockets listen as the workers' do, and each
client opens a few connections; the figure is the share of them that the busiest worker gets.
"""

from __future__ import annotations

import argparse
import socket
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from feature_repo.paths import write_json
from server.process.port import reserve

WORKERS = (2, 4, 8)
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
CLIENTS = 300


def busiest(workers: int, connections: int, clients: int) -> float:
    """Mean share of the busiest worker over so many clients."""
    with reserve("127.0.0.1", 0) as held, ExitStack() as stack:
        address = held.getsockname()
        listeners = []
        for _ in range(workers):
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(1_024)
            listener.setblocking(False)
            listeners.append(listener)
        shares = []
        for _ in range(clients):
            opened = [socket.create_connection(address) for _ in range(connections)]
            counts = [accepted(listener) for listener in listeners]
            shares.append(max(counts) / connections)
            for connection in opened:
                connection.close()
    return float(np.mean(shares))


def accepted(listener: socket.socket) -> int:
    """Connections that wait at the listener; they are taken and closed."""
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    results = []
    for workers in WORKERS:
        for connections in CONNECTIONS:
            share = busiest(workers, connections, CLIENTS)
            results.append({"workers": workers, "connections": connections, "busiest_share": share})
            print(
                f"{workers} workers, {connections} connections: the busiest has {share:.0%} (even: {1 / workers:.0%})"
            )
    write_json(options.out / "spread.json", {"clients": CLIENTS, "results": results})
    print(f"spread: {options.out / 'spread.json'}")


if __name__ == "__main__":
    main()
