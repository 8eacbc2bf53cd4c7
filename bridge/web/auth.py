"""The declarations of access: every view declares its callers, and a test holds that none is missing.

This module also checks the operator's token. Each webhook checks its provider's signature itself.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import Flask, Request, request
from flask.typing import ResponseReturnValue
from pydantic import SecretStr

from bridge.web.problems import problem

log = logging.getLogger(__name__)

PUBLIC = "public"
CARRIER = "carrier"
AGENT = "agent"
ADMIN = "admin"
"""The declarations of a view: no check, the signature of the carrier or of the agent's provider, or the operator's
token."""

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="bridge"'}

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


def admin_required(token: SecretStr | None) -> Callable[[Callable[..., ResponseReturnValue]], Callable[..., Any]]:
    """Require the operator's token. If the settings have none, refuse every call."""

    def decorate(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
        @declares(ADMIN)
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> ResponseReturnValue:
            if token is None:
                return problem(503, "ADMIN_TOKEN is not set, so every call is refused. Set it and restart.")
            if not is_operator(token, request):
                log.warning("%s: the operator's token is missing or wrong", request.path)
                return problem(401, "Send the header Authorization: Bearer and the ADMIN_TOKEN.", headers=CHALLENGE)
            return view(*args, **kwargs)

        return checked

    return decorate


def is_operator(token: SecretStr | None, asked: Request) -> bool:
    """Return True if the request has the operator's token.

    Without a token in the settings, no request is the operator's.
    """
    return token is not None and bears(token.get_secret_value(), asked.headers.get("Authorization", ""))


def bears(token: str, header: str) -> bool:
    """Return True if an Authorization header carries this token. A wrong token takes as long as the right one."""
    scheme, _, given = header.partition(" ")
    # WSGI decodes header bytes as Latin-1. Non-ASCII bytes were most likely sent in UTF-8.
    right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())
    return right and scheme.lower() == "bearer"
