"""The protection of the console's pages: their headers, the cookies, and the token that each form carries."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import urlsplit

from flask import Response
from flask_wtf.csrf import CSRFProtect

from bridge.config import Settings
from bridge.web.headers import add_missing

PATH = "/console"
COOKIE = "bridge_console"
"""The cookie with the session's token. Flask's own cookie beside it has only the forms' token and notices."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
}
"""Those of its own. ``bridge.web.headers`` adds the others: no page is stored."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")

forms = CSRFProtect()


def install(app: Any, settings: Settings) -> None:
    """Prepare the app for sessions and forms. The webhooks and the admin API need neither and are not checked."""
    app.config.update(
        SECRET_KEY=key(settings),
        SESSION_COOKIE_NAME="bridge_forms",
        SESSION_COOKIE_PATH=PATH,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=not on_loopback(settings),
        SESSION_COOKIE_SAMESITE="Strict",
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,  # a page may stay open for a day; its token ends with the session
        WTF_CSRF_SSL_STRICT=False,  # a proxy ends TLS, so the app can't know its own scheme
    )
    forms.init_app(app)


def protect(answer: Response) -> Response:
    return add_missing(answer, HEADERS)


def on_loopback(settings: Settings) -> bool:
    """Return True if the bridge serves this machine only, without TLS, as the demo does."""
    address = urlsplit(str(settings.public_url))
    return address.scheme == "http" and address.hostname in LOOPBACK


def cookie(settings: Settings) -> dict[str, Any]:
    """Return the attributes of the session's cookie."""
    return {"path": PATH, "httponly": True, "secure": not on_loopback(settings), "samesite": "Strict"}


def key(settings: Settings) -> bytes:
    """Return the key that signs the cookie of the forms: one for all processes, another one for other tokens.

    The carrier's token is part of it, so that the cookie of a stranger does not help to guess an operator's token.
    """
    known = sorted((name, token.get_secret_value()) for name, token in settings.operators.items())
    carrier = settings.twilio_auth_token.get_secret_value()
    return hmac.new(carrier.encode(), f"console {known}".encode(), hashlib.sha256).digest()
