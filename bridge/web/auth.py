"""The declarations of access: every view declares its callers, and a test holds that none is missing.

This module also finds the operator whose token a request has. Each webhook checks its provider's signature itself.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import Flask, Request, g, request
from flask.typing import ResponseReturnValue

from bridge.config import Settings
from bridge.lib.bearer import bears
from bridge.operators.logins import Cause, Refusals
from bridge.runtime import Runtime
from bridge.web.problems import problem

log = logging.getLogger(__name__)

PUBLIC = "public"
CARRIER = "carrier"
AGENT = "agent"
ADMIN = "admin"
OPERATOR = "operator"
"""The declarations of a view: no check, the signature of the carrier or of the agent's provider, an operator's token,
or an operator's session in the console."""

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="bridge"'}

NO_TOKENS = "Neither ADMIN_TOKEN nor ADMIN_TOKENS is set, so every call is refused. Set one and restart."
NO_OPERATOR = "Send the header Authorization: Bearer and the token of an operator."

View = TypeVar("View", bound=Callable[..., Any])


def declares(auth: str) -> Callable[[View], View]:
    """Declare the callers of a view."""

    def mark(view: View) -> View:
        view.auth = auth  # type: ignore[attr-defined]
        return view

    return mark


def declared(view: Callable[..., Any]) -> str | None:
    """Return the declaration of the view, or ``None`` if it has none."""
    return getattr(view, "auth", None)


def undeclared(app: Flask) -> list[str]:
    """Return the endpoints without a declaration."""
    return sorted(name for name, view in app.view_functions.items() if declared(view) is None)


def admin_required(rt: Runtime) -> Callable[[Callable[..., ResponseReturnValue]], Callable[..., Any]]:
    """Require an operator's token. If the settings have none, refuse every call. See :func:`operator`."""
    refusals = Refusals(rt)

    def decorate(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
        @declares(ADMIN)
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> ResponseReturnValue:
            if not rt.settings.operators:
                return problem(503, NO_TOKENS)
            name = operator_of(rt.settings, request)
            if name is None:
                cause = Cause.WRONG_TOKEN if "Authorization" in request.headers else Cause.NO_TOKEN
                log.warning("%s: a login is refused: %s", request.path, cause)
                refusals.count(cause)
                return problem(401, NO_OPERATOR, headers=CHALLENGE)
            g.operator = name
            return view(*args, **kwargs)

        return checked

    return decorate


def operator() -> str:
    """Return the name of the operator who makes this request. Only for views that declare one."""
    name: str = g.operator
    return name


def operator_of(settings: Settings, asked: Request) -> str | None:
    """Return the name of the operator whose token the request has; ``None``: it has none, or a wrong one.

    It is compared with every token, so that the time tells nothing about any of them.
    """
    header = asked.headers.get("Authorization", "")
    right = [name for name, token in settings.operators.items() if bears(token.get_secret_value(), header)]
    return right[0] if right else None


def owner_of(settings: Settings, token: str) -> str | None:
    """Return the name of the operator with this token, as it was typed."""
    given = token.strip().encode("utf-8", "replace")
    right = [
        name
        for name, known in settings.operators.items()
        if hmac.compare_digest(given, known.get_secret_value().encode())
    ]
    return right[0] if right else None
