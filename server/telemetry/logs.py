"""The format of the log: text for people, or an object of JSON a line."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from server import call
from server.telemetry.settings import Telemetry

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(settings: Telemetry, stream: TextIO | None = None) -> None:
    """Log everything from INFO on to standard error, or to another stream, in the format that the settings ask for.

    Feast logs its errors alone, and grpcio no trace of each call whose metadata is no text.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("feast").setLevel(logging.ERROR)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a record of grpcio's is about more than what a caller wrote into its metadata."""
    return not str(record.msg).startswith("Invalid encoding")


class JsonFormatter(logging.Formatter):
    """A line of JSON: time, level, logger, message, request_id and trace_id of the call being answered, the record's
    `fields`, and `exception` with its type, message and stack.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_of_call(),
            **_fields(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["exception"] = {
                "type": type(error).__qualname__,
                "message": str(error),
                "stack": "".join(traceback.format_exception(error)),
            }
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """A line for people, the record's `fields` behind the message as key=value."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The first line; the exception follows."""
        line = super().formatMessage(record)
        fields = _fields(record)
        if fields:
            fields = {**_of_call(), **fields}
        return " ".join([line, *(f"{key}={_word(value)}" for key, value in fields.items())])


def _of_call() -> dict[str, str]:
    answering = call.current()
    found = {"request_id": answering.request_id, "trace_id": getattr(answering, "trace_id", "")}
    return {key: value for key, value in found.items() if value}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _word(value: Any) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(c.isspace() or c in '"=' for c in text)
    return text if plain else json.dumps(text)
