"""Settings of the models: SHOPRANK_MODELS__*."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from server.process.settings import MOST_SECONDS


class ModelSettings(BaseModel):
    """How versions are loaded, kept and shadowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    poll_seconds: float = Field(
        0.5, gt=0, le=MOST_SECONDS, description="How often the model repository is looked at for changes."
    )
    settle_seconds: float = Field(
        2.0,
        ge=0,
        le=MOST_SECONDS,
        description="Time that a bundle which cannot be loaded must lie unchanged before it is refused.",
    )
    keep: int = Field(2, ge=0, le=100, description="Versions kept loaded beside those that serve, for rollback.")
    warmup_rows: int = Field(1_000, ge=1, le=100_000, description="Rows a new version runs before it serves, at most.")
    max_rows: int = Field(5_000, ge=1, le=1_000_000, description="Rows of a ModelInfer request at most.")
    shadow_calls: int = Field(256, ge=1, description="Calls that wait for the shadow at most; more are dropped.")
    shadow_rows: int = Field(20_000, ge=1, description="Items of the calls that wait for the shadow at most.")
    shadow_log: Path = Field(Path("shadow.jsonl"), description="File of the shadow's answers, one JSON object a line.")
    shadow_log_bytes: int = Field(100_000_000, ge=1_000, description="Size at which that file is rotated.")
    shadow_log_files: int = Field(5, ge=1, le=100, description="Rotated files that are kept.")

    @field_validator("shadow_log")
    @classmethod
    def _can_be_written(cls, path: Path) -> Path:
        """Refuse at the start a file that a shadow could not write later. The default is not looked at: it may well be
        that no version is ever shadowed."""
        if path.is_dir():
            raise ValueError(f"{path} is a folder")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise ValueError(f"nothing can be written in {folder}")
        if path.exists() and not os.access(path, os.W_OK):
            raise ValueError(f"{path} cannot be written")
        return path
