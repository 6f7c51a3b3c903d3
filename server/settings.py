"""Settings of the server: environment (`SHOPRANK_*`), then a TOML file, then defaults that work on a laptop."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from server.models.settings import ModelSettings
from server.process.settings import MOST_SECONDS, Limits, Process
from server.security.settings import Security
from server.telemetry.settings import Telemetry
from shoprank.complaints import complaints
from shoprank.errors import UserError

PREFIX = "SHOPRANK_"
NESTED = "__"
"""Between the name of a group of settings and a name in it: SHOPRANK_LIMITS__QUEUE."""
FILE_VARIABLE = "SHOPRANK_SETTINGS"
CLIENT_VARIABLES = {
    "SHOPRANK_ADDRESS",
    "SHOPRANK_ROOT_CERTIFICATE",
    "SHOPRANK_CERTIFICATE",
    "SHOPRANK_KEY",
    "SHOPRANK_TOKEN",
}


class Settings(BaseSettings):
    """What the server needs to know. An unknown key is an error."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=NESTED, extra="forbid", frozen=True, protected_namespaces=()
    )

    data: Path = Field(Path("data"), description="Folder of the catalogue and of Feast's registry and store.")
    redis: str | None = Field(
        None, description="URL of the Redis that keeps the online features; without it they are in LMDB below `data`."
    )
    model_repository: Path = Field(Path("model_repository"), description="Folder of the model bundles.")
    model: str = Field("purchase", description="Name of the model to serve.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(50051, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    threads: int = Field(2, ge=1, le=256, description="Requests handled at once.")
    model_threads: int = Field(
        1, ge=0, le=256, description="Threads of ONNX Runtime a request; 0 for as many as the process has cores."
    )
    clock: Literal["wall", "snapshot"] = Field(
        "wall", description="Time of a request that names none: now, or the cutoff of the newest item features."
    )
    max_candidates: int = Field(5_000, ge=1, le=100_000, description="Candidates of a request at most.")
    max_batch: int = Field(1_000, ge=1, le=100_000, description="Requests of a batch at most.")
    max_batch_candidates: int = Field(
        200_000, ge=1, le=10_000_000, description="Candidates of a batch at most, over all its requests."
    )
    max_streams: int = Field(4, ge=1, le=256, description="Streams answered at once.")
    read_ahead: int = Field(
        64, ge=1, le=1_000, description="Requests of a stream that are read, and ranked together, ahead of its answers."
    )
    cached_items: int = Field(
        250_000,
        ge=1,
        description="Items whose rows are kept in memory, 0.7 kB each, as they are asked for; at least all there are.",
    )
    models: ModelSettings = Field(ModelSettings(), description="Versions of the models; see docs/models.md.")
    grace_seconds: float = Field(
        5.0,
        ge=0,
        le=MOST_SECONDS,
        allow_inf_nan=False,
        description="Time that requests in flight have when the server stops.",
    )
    security: Security = Field(Security(), description="TLS, authentication, audit; see docs/security.md.")
    telemetry: Telemetry = Field(Telemetry(), description="Metrics, traces, logs, drift; see docs/observability.md.")
    process: Process = Field(Process(), description="Worker processes.")
    limits: Limits = Field(Limits(), description="What a process takes in at most.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment before the file that SHOPRANK_SETTINGS names."""
        sources = [init_settings, env_settings]
        if file := os.environ.get(FILE_VARIABLE):
            sources.append(TomlConfigSettingsSource(settings_cls, Path(file)))
        return tuple(sources)


def load(**given: Any) -> Settings:
    """The settings; arguments that are not None come before everything else.

    Raises UserError naming each key that is unknown or has a bad value.
    """
    known = {FILE_VARIABLE, *CLIENT_VARIABLES, *_variables()}
    if unknown := sorted(name for name in os.environ if name.startswith(PREFIX) and name.upper() not in known):
        raise UserError(f"environment: {', '.join(unknown)}: no such setting")
    file = os.environ.get(FILE_VARIABLE)
    if file and not Path(file).is_file():
        raise UserError(f"{FILE_VARIABLE}={file}: no such file")
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise UserError(f"settings: {complaints(error, place_of=partial(_source, given, file))}") from error
    except ValueError as error:
        raise UserError(f"{'environment' if isinstance(error, SettingsError) else file}: {error}") from error


def _variables() -> Iterator[str]:
    """The variables of all settings, and of groups of them as a whole."""
    for name, field in Settings.model_fields.items():
        variable = PREFIX + name.upper()
        yield variable
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (variable + NESTED + below.upper() for below in field.annotation.model_fields)


def _source(given: Mapping[str, Any], file: str | None, place: str) -> str:
    """The place of a setting as it was written down: its variable, or its key and the file that it may stand in."""
    variable = PREFIX + place.upper().replace(".", NESTED)
    if given.get(place.partition(".")[0]) is not None:
        return place
    if variable in os.environ:
        return variable
    return f"{place} ({file})" if file else place
