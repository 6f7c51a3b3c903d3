"""The errors that shoprank raises on purpose.

`UserError` is a mistake in what was asked or given, or something that has to be done first (exit code 2, mostly
INVALID_ARGUMENT or NOT_FOUND); every other `ShoprankError` is a failure (exit code 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class ShoprankError(Exception):
    """Base of every error shoprank raises on purpose. The message is meant for a person. Errors go from process to
    process as they are."""


class UserError(ShoprankError):
    """Something given is wrong: a file, a column, a value, a flag. The message names it and its value."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field of a request, as in `google.rpc.BadRequest.FieldViolation`."""

    field: str
    description: str


class InvalidRequest(UserError):  # noqa: N818  (named as gRPC clients know it)
    """A request with one or more bad fields; every one of them is listed."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field} {v.description}" for v in self.violations))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.violations,)


class NotFound(UserError):  # noqa: N818  (named as gRPC clients know it)
    """A named resource, such as a model version, that is not there."""


class Unauthenticated(ShoprankError):  # noqa: N818
    """A call without credentials that are valid."""


class PermissionDenied(ShoprankError):  # noqa: N818
    """A call by somebody who may not make it."""


class Overloaded(ShoprankError):  # noqa: N818
    """A call turned away, by a server that has enough to do or from a client that asks too often.

    retry_after: seconds after which to ask again.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.retry_after)


class TooLate(ShoprankError):  # noqa: N818
    """A call whose deadline has passed, or whose caller has gone: nobody waits for the answer."""


class BundleError(ShoprankError):
    """A model bundle that must not be served: missing, altered, or of another schema."""


class NoActiveModel(BundleError, UserError):  # noqa: N818
    """No version is active, or none that will do: one has to be trained first."""


class OtherShop(BundleError, UserError):  # noqa: N818
    """A model that proposes items which the data folder it is used with does not have."""


class TrafficError(ShoprankError):
    """A model's traffic file that cannot be read."""


class Conflict(ShoprankError):  # noqa: N818
    """What was asked does not fit the state as it is now: somebody changed it, or something is in use."""


class FeatureStoreError(ShoprankError):
    """The feature store is away, not applied, or of another schema."""


class StoreNotReady(FeatureStoreError, UserError):  # noqa: N818
    """The feature store has to be applied or filled first; the message says by which command."""


class ServerError(ShoprankError):
    """The server could not answer; `code` is the name of the gRPC status code, such as UNAVAILABLE."""

    OF_USERS = ("INVALID_ARGUMENT", "NOT_FOUND")
    """Codes of a mistake in what was asked, which the command line ends with 2 for."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self._message = message
        super().__init__(f"{code}: {message}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self._message)
