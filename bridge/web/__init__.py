"""The web: webhooks, admin and health on one app. It verifies, stores, rings and shows, and never calls outside."""

from __future__ import annotations

from flask import Flask

from bridge.runtime import Runtime
from bridge.web import admin, health, problems, twilio

MAX_BYTES = 64 * 1024
"""A text has 1,600 characters at most; this is many times that, with every parameter that Twilio may add."""


def build_web(rt: Runtime) -> Flask:
    """The app on this runtime."""
    app = Flask("bridge", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    problems.install(app)
    for part in (twilio, admin, health):
        app.register_blueprint(part.blueprint(rt))
    return app
