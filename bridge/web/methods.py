"""The answer to a webhook with another method than POST. The log names the setting at the provider that causes it.

A GET has the person's number and words in its address. Only the path is logged.
"""

from __future__ import annotations

import logging

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from bridge.web.auth import CARRIER, declared
from bridge.web.problems import http_error

log = logging.getLogger(__name__)

USUAL = ("GET", "HEAD", "PUT", "PATCH", "DELETE")
"""Methods that are safe to log. A caller may send any word."""

FIX = (
    "This webhook takes HTTP POST only. At the provider, set its method to HTTP POST in the settings of the number, "
    "and of its messaging service if it has one."
)


def install(app: Flask) -> None:
    """Handle wrong methods on every webhook. The view's declaration tells that it is one."""
    app.register_error_handler(MethodNotAllowed, _wrong_method)


def _wrong_method(error: HTTPException) -> ResponseReturnValue:
    if _is_webhook():
        method = request.method if request.method in USUAL else "another method"
        log.warning("%s by %s refused with 405: %s", request.path, method, FIX)
        error.description = FIX
    return http_error(error)


def _is_webhook() -> bool:
    routes = current_app.url_map.bind_to_environ(request.environ)
    try:
        endpoint, _ = routes.match(method="POST")
    except HTTPException:
        return False
    return declared(current_app.view_functions[endpoint]) == CARRIER
