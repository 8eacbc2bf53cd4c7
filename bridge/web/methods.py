"""The answer to a webhook with another method than POST. The log names the setting at the provider that causes it.

A GET has the person's number and words in its address. Only the path is logged.
"""

from __future__ import annotations

import logging

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from bridge.web.auth import AGENT, CARRIER, declared
from bridge.web.problems import http_error

log = logging.getLogger(__name__)

USUAL = ("GET", "HEAD", "PUT", "PATCH", "DELETE")
"""Methods that are safe to log. A caller may send any word."""

FIXES = {
    CARRIER: "This webhook takes HTTP POST only. At the provider, set its method to HTTP POST in the settings of the "
    "number, and of its messaging service if it has one.",
    AGENT: "This webhook takes HTTP POST only, as the provider of the agent sends its events.",
}
"""By the declaration of the view. A view of other callers is no webhook."""


def install(app: Flask) -> None:
    """Handle wrong methods on every webhook. The view's declaration tells that it is one."""
    app.register_error_handler(MethodNotAllowed, _wrong_method)


def _wrong_method(error: HTTPException) -> ResponseReturnValue:
    if fix := _fix():
        method = request.method if request.method in USUAL else "another method"
        log.warning("%s by %s refused with 405: %s", request.path, method, fix)
        error.description = fix
    return http_error(error)


def _fix() -> str | None:
    """Return what to do if the address is a webhook's."""
    routes = current_app.url_map.bind_to_environ(request.environ)
    try:
        endpoint, _ = routes.match(method="POST")
    except HTTPException:
        return None
    return FIXES.get(declared(current_app.view_functions[endpoint]) or "")
