"""The floor: a grpcio server whose handler does nothing but hand over a reply made beforehand.

Run as a process with a folder of replies, one for each size of request in bytes.
"""

from __future__ import annotations

import argparse
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc


class Canned(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Answers every request with the reply kept for its size, without reading it."""

    def __init__(self, replies: dict[int, bytes]) -> None:
        self._replies = replies

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._replies[len(request)])


def main() -> None:
    """Serve the replies of a folder, `<bytes of the request>.reply` each, until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    replies = {int(file.stem): file.read_bytes() for file in options.folder.glob("*.reply")}
    server = grpc.server(ThreadPoolExecutor(options.threads), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Canned(replies),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"floor: 127.0.0.1:{port}", flush=True)
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    told_to_stop.wait()
    server.stop(1).wait()


if __name__ == "__main__":
    main()
