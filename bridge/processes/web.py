"""The entry point of the web process: ``gunicorn "bridge.processes.web:create_app()"``. It only composes."""

from __future__ import annotations

from flask import Flask

from bridge.config import ServerSettings, or_exit, warn_of_unknown_names
from bridge.db.engine import must_fit
from bridge.lib import log as logs
from bridge.processes import telemetry
from bridge.processes.broker import CeleryNotifier, tell_of_no_check
from bridge.runtime import Runtime
from bridge.web.app import build_web

MAX_CONNECTIONS = 4
"""Database connections of one web process; a webhook holds one for a few milliseconds."""


AT_END = "at end"
"""What the server must call at the end of a process, among the app's extensions."""

SILENCE = 1.5
"""Seconds that a webhook waits for the database. Then Twilio gets 503; it tries again, or catch-up fetches the text."""


def create_app() -> Flask:
    """Return the web app with the environment's settings. If they are wrong, print each fault and exit with 2."""
    settings = or_exit(ServerSettings.load)
    or_exit(lambda: must_fit(settings.database_url))
    logs.configure(secrets=logs.secrets_in(settings), form=settings.log_format)
    telemetry.start(settings)
    warn_of_unknown_names()
    tell_of_no_check(settings.broker_url, settings.redis_tls_verify)
    notifier = CeleryNotifier(settings.broker_url, settings.redis_tls_verify)
    rt = Runtime.build(settings, notifier, pool_size=MAX_CONNECTIONS, silence=SILENCE, write_behind=True)
    app = build_web(rt)
    app.extensions[AT_END] = rt.write_rest
    return app
