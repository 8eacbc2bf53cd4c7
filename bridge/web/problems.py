"""Web errors as RFC 9457 problem JSON. The words of an unexpected error never appear."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from bridge.db.engine import AWAY

log = logging.getLogger(__name__)

MIMETYPE = "application/problem+json"

MACHINES = ("/twilio/", "/retell/", "/uponai/")
"""Requests to these paths get plain text. The provider's debugger shows it as it is; no program reads JSON there."""


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """Build a problem. ``detail`` tells the caller what to fix. ``more`` are extra members."""
    members = {"type": "about:blank", "title": _title(status), "status": status, "detail": detail, **more}
    return Response(json.dumps(members, ensure_ascii=False), status, headers, mimetype=MIMETYPE)


def install(app: Flask) -> None:
    """Turn every HTTP error of the app into a problem. Flask logs an unexpected error and answers 500."""
    app.register_error_handler(HTTPException, http_error)
    for away in AWAY:
        app.register_error_handler(away, _away)


def http_error(error: HTTPException) -> Response | HTTPException:
    """Return an HTTP error in the form that its reader understands."""
    if error.response is not None or error.code is None:
        return error
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return _answer(error.code, _words(error), headers)


def _away(error: Exception) -> Response:
    log.warning("%s: the database is away (%s)", request.path, type(error).__name__)
    return _answer(503, "The database does not answer. Try again soon.", {"Retry-After": "5"})


def _answer(status: int, detail: str, headers: Mapping[str, str]) -> Response:
    if request.path.startswith(MACHINES):
        return Response(detail + "\n", status, headers, mimetype="text/plain")
    return problem(status, detail, headers=headers)


def _words(error: HTTPException) -> str:
    """Return the words of an ``abort``, or Werkzeug's sentence for the status. A bug's own words are never shown."""
    if getattr(error, "original_exception", None) is not None:
        return "An unexpected error. The log has the details."
    return error.description or _title(error.code or 500)


def _title(status: int) -> str:
    return HTTPStatus(status).phrase
