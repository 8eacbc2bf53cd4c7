"""The Flask app with webhooks, admin, the console, health and metrics.

It verifies, stores, wakes workers and shows. It never calls a provider.
"""

from __future__ import annotations

from functools import cached_property

from flask import Flask, Request, abort
from werkzeug.datastructures import MultiDict

from bridge.runtime import Runtime
from bridge.web import admin, agents, headers, health, methods, problems, prometheus, request_ids, twilio
from bridge.web.console import blueprint as console
from bridge.web.console.security import PATH
from bridge.web.time_limit import WITHIN

MAX_BYTES = 64 * 1024
"""Bytes. A text has 1,600 characters at most. This is many times that, with every parameter that Twilio may add."""


def most_bytes(path: str) -> int:
    """Return the size of the largest body at this path. An event carries its whole chat, and a form is wide."""
    if path.startswith(f"{PATH}/"):
        return console.MAX_BYTES
    return agents.MAX_BYTES if path in agents.PATHS else MAX_BYTES


class _Request(Request):
    @cached_property
    def args(self) -> MultiDict[str, str]:
        """Read the query string. Answer 400 for bytes that are no UTF-8; Werkzeug would raise an unexpected error."""
        try:
            return super().args
        except UnicodeDecodeError:
            abort(400, "The address is not in UTF-8.")


def build_web(rt: Runtime, within: float = WITHIN) -> Flask:
    """Build the app on this runtime. ``within``: how many seconds a machine's request waits for the database."""
    app = Flask("bridge", static_folder=None)
    app.request_class = _Request
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    headers.install(app)
    request_ids.install(app)
    problems.install(app)
    methods.install(app)
    for part in (twilio, agents, prometheus):
        app.register_blueprint(part.blueprint(rt, within))
    for part in (admin, console, health):
        app.register_blueprint(part.blueprint(rt))
    return app
