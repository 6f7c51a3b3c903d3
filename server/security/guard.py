"""The stage that lets a call through to its handler, or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from server import call
from server.methods import Behaviour, Method
from server.security.audit import Audit
from server.security.authentication import Authentication
from server.security.pseudonym import Pseudonyms
from server.security.roles import ANYBODY, Principal, Role, is_known, required
from server.security.settings import Security
from shoprank.errors import PermissionDenied, Unauthenticated


class Guard:
    """Admits a call whose caller has the role that the method asks for; the call then knows its principal.

    authentication: None admits everybody to every method of the table. A method that is not in it is always refused.
    """

    def __init__(self, authentication: Authentication | None, audit: Audit) -> None:
        self._authentication = authentication
        self._audit = audit

    def __call__(self, method: Method, behaviour: Behaviour) -> Behaviour:
        """The behaviour behind the guard."""
        role = required(method) if is_known(method) else None
        if role is None and is_known(method):
            return behaviour
        audited = role is Role.admin

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            principal = self._admitted(method, role, context)
            if not audited:
                return behaviour(request, context)
            with self._audit.recorded(method, principal, request, context):
                return behaviour(request, context)

        def streaming(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            principal = self._admitted(method, role, context)
            if not audited:
                yield from behaviour(request, context)
                return
            with self._audit.recorded(method, principal, request, context):
                yield from behaviour(request, context)

        return streaming if method.server_streams else unary

    def _admitted(self, method: Method, role: Role | None, context: grpc.ServicerContext) -> str:
        """Name of the caller. Raises Unauthenticated or PermissionDenied, and writes it down."""
        principal: Principal | None = None
        try:
            principal = ANYBODY if self._authentication is None else self._authentication.principal(context)
            if role is None:
                raise PermissionDenied(f"{method.path} is open to nobody: it has no role")
            if role not in principal.roles:
                raise PermissionDenied(f"{method.path} needs the role {role}, which {principal.name} has not")
        except (Unauthenticated, PermissionDenied) as error:
            self._audit.denied(method, principal.name if principal else "", error, context)
            raise
        answering = call.current()
        answering.principal = principal.name
        call.enter(answering)
        return principal.name


def guard(security: Security, pseudonyms: Pseudonyms | None) -> Guard:
    """The guard that the settings ask for. pseudonyms: of user ids in audit lines, None to show them.

    Raises UserError where a file it rests on is bad.
    """
    authentication = Authentication(security) if security.authenticates else None
    return Guard(authentication, Audit(security.audit_file, pseudonyms))
