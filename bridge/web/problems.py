"""Errors as the web tells them: RFC 9457 problem JSON, with nothing of an unexpected error's own words."""

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

MACHINES = "/twilio/"
"""Under this path nobody reads JSON: a short plain text is shown in the vendor's debugger as it is."""


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A problem. ``detail`` tells the caller what to mend; ``more`` are members of its own."""
    members = {"type": "about:blank", "title": _title(status), "status": status, "detail": detail, **more}
    return Response(json.dumps(members, ensure_ascii=False), status, headers, mimetype=MIMETYPE)


def install(app: Flask) -> None:
    """Every error of the app becomes a problem. What nobody expected stays a bug: Flask logs it and says 500."""
    app.register_error_handler(HTTPException, http_error)
    for away in AWAY:
        app.register_error_handler(away, _away)


def http_error(error: HTTPException) -> Response | HTTPException:
    """An error of HTTP in the form that its reader takes."""
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
    """What an ``abort`` said, or Werkzeug's own sentence for the status; a bug has no words of its own here."""
    if getattr(error, "original_exception", None) is not None:
        return "Something went wrong here. It is in the log."
    return error.description or _title(error.code or 500)


def _title(status: int) -> str:
    return HTTPStatus(status).phrase
