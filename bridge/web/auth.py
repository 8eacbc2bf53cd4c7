"""Who may call what. Every view declares it, and a test holds that none has forgotten to.

What lives here: the declarations, and the check of the operator's token. Signatures of vendors are checked
beside their webhooks.
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
ADMIN = "admin"
"""What a view may declare: nobody is asked, or the vendor's signature or the operator's token is checked."""

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="bridge"'}

View = TypeVar("View", bound=Callable[..., Any])


def declares(auth: str) -> Callable[[View], View]:
    """Says on the view who may call it."""

    def mark(view: View) -> View:
        view.auth = auth  # type: ignore[attr-defined]
        return view

    return mark


def declared(view: Callable[..., Any]) -> str | None:
    """What the view declares; ``None`` when it has forgotten to."""
    return getattr(view, "auth", None)


def undeclared(app: Flask) -> list[str]:
    """The endpoints of which nobody knows who may call them."""
    return sorted(name for name, view in app.view_functions.items() if declared(view) is None)


def admin_required(token: SecretStr | None) -> Callable[[Callable[..., ResponseReturnValue]], Callable[..., Any]]:
    """Lets through who holds the operator's token. Without one in the settings nobody gets in."""

    def decorate(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
        @declares(ADMIN)
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> ResponseReturnValue:
            if token is None:
                return problem(503, "ADMIN_TOKEN is not set, so nobody is let in here. Set it and start again.")
            if not is_operator(token, request):
                log.warning("%s: the operator's token is missing or wrong", request.path)
                return problem(401, "Send the header Authorization: Bearer and the ADMIN_TOKEN.", headers=CHALLENGE)
            return view(*args, **kwargs)

        return checked

    return decorate


def is_operator(token: SecretStr | None, asked: Request) -> bool:
    """Does the request bring the operator's token? Without one in the settings nobody is the operator."""
    return token is not None and bears(token.get_secret_value(), asked.headers.get("Authorization", ""))


def bears(token: str, header: str) -> bool:
    """Does an Authorization header carry this token? Takes as long for a wrong one as for the right one."""
    scheme, _, given = header.partition(" ")
    # WSGI hands header bytes over as Latin-1; what was not ASCII was most likely sent in UTF-8.
    right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())
    return right and scheme.lower() == "bearer"
