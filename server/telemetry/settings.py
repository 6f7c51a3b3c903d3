"""The group `telemetry` of the settings."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Telemetry(BaseModel):
    """What the server says about itself; SHOPRANK_TELEMETRY__* in the environment. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port of the metrics over HTTP; 0 takes a free one, none is off."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics; whoever reaches it may read them.")
    traces: str | None = Field(
        None, description="OTLP endpoint (gRPC) that traces are sent to, such as http://127.0.0.1:4317."
    )
    trace_ratio: float = Field(0.01, ge=0, le=1, description="Share of calls traced whose caller did not decide it.")
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people, or JSON, an object a line.")
    log_calls: bool = Field(False, description="Log every call, and not failed and slow ones alone.")
    log_users: bool = Field(False, description="Name the user in the lines of calls.")
    log_lines_per_second: float = Field(20.0, gt=0, description="Lines of calls a second at most; others are counted.")
    slow_seconds: float = Field(0.5, gt=0, description="Time from which a call is slow.")
    drift_rows_per_second: float = Field(5.0, gt=0, le=100, description="Rows a worker samples to measure drift.")
    drift_window_seconds: float = Field(3600.0, ge=60, description="Time over which drift is measured.")
    drift_min_rows: int = Field(1_000, ge=100, description="Rows in that time below which no drift is stated.")

    @field_validator("traces")
    @classmethod
    def _is_an_endpoint(cls, traces: str | None) -> str | None:
        """Refuse at the start what no trace would reach."""
        if traces is not None and not _names_a_host(traces):
            raise ValueError("it is no endpoint such as http://127.0.0.1:4317")
        return traces


def _names_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")
        and not (parts.query or parts.fragment or parts.username or any(map(str.isspace, url)))
    )  # fmt: skip
