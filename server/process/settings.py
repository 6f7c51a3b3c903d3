"""Settings of the worker processes, and of what each takes in."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MOST = 2**31 - 1
"""What gRPC's core can count to."""
MOST_SECONDS = MOST // 1000
"""It counts time in milliseconds: 24 days."""


class Process(BaseModel):
    """The worker processes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    workers: int = Field(1, ge=0, le=256, description="Worker processes that share the port; 0 for one a core.")
    pin: bool = Field(True, description="Whether each of several workers keeps to its share of the cores.")
    probe_seconds: float = Field(
        1.0, gt=0, le=MOST_SECONDS, description="How often it is looked whether model and store answer."
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=MOST_SECONDS,
        description="Time between health saying NOT_SERVING and the end of taking calls, when it stops.",
    )
    start_seconds: float = Field(120.0, gt=0, le=MOST_SECONDS, description="Time a worker may take to start.")
    awake_seconds: float = Field(
        0.0002,
        ge=0,
        le=1,
        description="Time for which a thread looks for the next call before it sleeps, where calls come that fast.",
    )
    hang_seconds: float = Field(30.0, gt=1, le=MOST_SECONDS, description="Silence after which a worker is replaced.")
    restart_seconds: float = Field(
        0.5, ge=0, le=MOST_SECONDS, description="Pause before a worker is started anew; doubled each time."
    )
    starts: int = Field(5, ge=1, description="Tries to start a worker while none serves, before all is given up.")


class Limits(BaseModel):
    """What a process takes in at most."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    gate: bool = Field(True, description="Whether calls are held back before they cost much; without it all are taken.")
    burst: int = Field(32, ge=0, description="Calls that may wait for a thread, however long each takes.")
    burst_seconds: float = Field(
        0.05, ge=0, description="Calls that take little may wait beyond these, while their turn comes within this time."
    )
    queue: int = Field(
        8, ge=0, description="Calls that may wait for a thread once there has been a queue for `patience_seconds`."
    )
    patience_seconds: float = Field(0.1, ge=0, description="Time for which a queue is taken for a burst.")
    pending: int = Field(
        0, ge=0, le=MOST, description="Calls of a method that wait in gRPC's core besides; more are ended at once."
    )
    refusals_per_second: float = Field(
        100.0,
        ge=0,
        description="Calls refused with a RetryInfo at most; more are ended at once.",
    )
    retry_after_seconds: float = Field(1.0, ge=0, description="When a refused caller is told to ask again.")
    streaming: int = Field(32, ge=1, description="Calls whose requests are a stream at once.")
    request_seconds: float = Field(10.0, gt=0, description="Time to send the request of a call that was begun.")
    stream_idle_seconds: float = Field(
        60.0, ge=0, description="Time a stream of rankings may go without a request or a reply taken; 0 for any."
    )
    client_rate: float = Field(0.0, ge=0, description="Calls a second of one client at most; 0 for no limit.")
    client_burst: float = Field(100.0, ge=1, description="Calls of one client at once at most, where there is a rate.")
    clients: int = Field(10_000, ge=1, description="Clients whose rate is remembered.")
    request_bytes: int = Field(4 * 1024 * 1024, ge=1_024, le=MOST, description="Size of a request at most.")
    reply_bytes: int = Field(64 * 1024 * 1024, ge=1_024, le=MOST, description="Size of a reply at most.")
    metadata_bytes: int = Field(16 * 1024, ge=4_096, le=MOST, description="Size of a call's metadata at most.")
    connections: int = Field(1_000, ge=1, le=MOST, description="Connections at once.")
    streams: int = Field(100, ge=1, le=MOST, description="Calls of one connection at once.")
    connection_age_seconds: float = Field(
        600.0,
        ge=0,
        le=MOST_SECONDS,
        description="Age, give or take a tenth, at which a client is asked to connect anew; 0 for never.",
    )
    connection_grace_seconds: float = Field(
        30.0, ge=0, le=MOST_SECONDS, description="Time its calls in flight have then."
    )
    connection_idle_seconds: float = Field(
        300.0, ge=0, le=MOST_SECONDS, description="Time without calls after which one ends."
    )
    handshake_seconds: float = Field(
        10.0, gt=0, le=MOST_SECONDS, description="Time a connection has to begin with HTTP/2."
    )
    keepalive_seconds: float = Field(
        60.0, ge=1, le=MOST_SECONDS, description="Silence after which the other end is pinged."
    )
    keepalive_timeout_seconds: float = Field(20.0, ge=1, le=MOST_SECONDS, description="Time it has to answer the ping.")
    ping_seconds: float = Field(10.0, ge=0, le=MOST_SECONDS, description="Time between two pings of a client at least.")
    ping_strikes: int = Field(2, ge=1, description="Pings before their time that are let pass.")
