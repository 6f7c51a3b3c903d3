"""What the stages of security add to a call: the guard for each kind of credentials, and the redaction of the log.

Run as `python -m benchmarks.security`; writes benchmarks/results/security.json. A real server answers real calls over
the loopback; the time is taken inside it, around the stages with an empty handler in them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from feature_repo.paths import write_json
from server.app import listen
from server.methods import Behaviour, Method, Stage, register
from server.security.authentication import Authentication
from server.security.guard import guard
from server.security.pseudonym import pseudonyms
from server.security.redaction import Redaction
from server.security.roles import Role
from server.security.settings import Security
from server.security.static_keys import new_key
from server.security.tls import reloaded, server_credentials
from shoprank.errors import Unauthenticated
from shoprank.v1 import ranking_pb2
from tests.certificates import Authority
from tests.token_issuer import AUDIENCE, ISSUER, TokenIssuer

RESULT = Path("benchmarks/results/security.json")
CALLS, WARM = 4_000, 500
FIRST = 300
KEYS = 100
METHOD = "/shoprank.v1.RankingService/ScoreItems"


class Empty:
    """A servicer that does nothing."""

    def ScoreItems(self, request: Any, context: grpc.ServicerContext) -> bytes:
        return b""

    RankItems = ScoreItems


class Watch:
    """The stage that takes the time of what is inside it, in microseconds."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, method: Method, behaviour: Behaviour) -> Behaviour:
        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            began = time.perf_counter_ns()
            reply = behaviour(request, context)
            self.taken.append((time.perf_counter_ns() - began) / 1e3)
            return reply

        return unary


@contextmanager
def serving(stages: list[Stage], credentials: grpc.ServerCredentials | None) -> Iterator[str]:
    """The address of a server with these stages."""
    server = grpc.server(ThreadPoolExecutor(2))
    register(server, ranking_pb2.DESCRIPTOR.services_by_name["RankingService"], Empty(), stages)
    port = listen(server, "127.0.0.1", 0, credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(1).wait()


def stage_cost(
    stages: list[Stage],
    credentials: grpc.ServerCredentials | None = None,
    tls: grpc.ChannelCredentials | None = None,
    token: str | None = None,
) -> float:
    """Median microseconds of a call inside these stages."""
    watch = Watch()
    request = ranking_pb2.ScoreItemsRequest(user_id="u1", item_ids=["i1"]).SerializeToString()
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with (
        serving([watch, *stages], credentials) as address,
        grpc.secure_channel(address, tls) if tls else grpc.insecure_channel(address) as channel,
    ):
        ask = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        for _ in range(WARM + CALLS):
            ask(request, metadata=metadata)
    return float(np.median(watch.taken[WARM:]))


def first_check(check: Callable[[str], object], tokens: list[str]) -> float:
    """Median microseconds of the first check of each token."""
    taken = []
    for token in tokens:
        began = time.perf_counter_ns()
        with suppress(Unauthenticated):
            check(token)
        taken.append((time.perf_counter_ns() - began) / 1e3)
    return float(np.median(taken))


def measure(folder: Path) -> dict[str, Any]:
    """Every figure, in microseconds."""
    issuer = TokenIssuer(folder / "jwks.json")
    principals = folder / "principals.toml"
    key, *_ = [new_key(principals, f"k{n}", [Role.score], None) for n in range(KEYS)]
    with principals.open("a") as file:
        file.write('\n[[certificate]]\nname = "c"\nsubject = "CN=client"\nroles = ["score"]\n')
    authority = Authority(folder / "pki")
    pair, mine = authority.issue("server", ip=("127.0.0.1",)), authority.issue("client")
    known = {"principals": principals, "jwks": issuer.file, "issuer": ISSUER, "audience": AUDIENCE}
    tls = {"certificate": pair.certificate, "key": pair.key, "client_ca": authority.file}
    tokens, mutual = Security(**known), Security(**known, **tls)
    long = issuer.token(exp=int(time.time()) + 3600, groups=["of a caller's directory"] * 40)
    shown = grpc.ssl_channel_credentials(
        authority.file.read_bytes(), mine.key.read_bytes(), mine.certificate.read_bytes()
    )
    served = reloaded(mutual)
    assert served is not None
    empty = stage_cost([])
    calls = {
        "guard, no authentication": stage_cost([guard(Security(), None)]),
        "guard, static key": stage_cost([guard(tokens, None)], token=key),
        f"guard, token of {len(issuer.token())} bytes": stage_cost(
            [guard(tokens, None)], token=issuer.token(exp=int(time.time()) + 3600)
        ),
        f"guard, token of {len(long)} bytes": stage_cost([guard(tokens, None)], token=long),
        "guard, client certificate": stage_cost(
            [guard(mutual, None)], server_credentials(served, client_certificates=True), shown
        ),
        "redaction": stage_cost([Redaction(pseudonyms(tokens))]),
    }
    authentication = Authentication(tokens)

    def check(token: str) -> object:
        return authentication.of_token(token, time.time())

    first = {
        f"token signed {signature}": first_check(check, [issuer.token(kid, sub=f"{kid}{n}") for n in range(FIRST)])
        for kid, signature in (("rsa", "RS256, 2048 bits"), ("ec", "ES256"), ("ed", "EdDSA"))
    }
    first[f"key that is none of {KEYS}"] = first_check(check, [f"srk_{n}" for n in range(FIRST)])
    return {
        "unit": "µs, median; an empty handler and the clock subtracted from `every call`",
        "every call": {name: round(cost - empty, 2) for name, cost in calls.items()},
        "first check": {name: round(cost, 1) for name, cost in first.items()},
    }


def main() -> None:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder))
    write_json(RESULT, result)
    for part in ("every call", "first check"):
        for name, cost in result[part].items():
            print(f"{part}: {name:32} {cost:8.2f} µs")
    print(f"security: {RESULT}")


if __name__ == "__main__":
    main()
