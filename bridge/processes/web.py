"""The front door of the web process: ``gunicorn "bridge.processes.web:create_app()"``. It composes and nothing else."""

from __future__ import annotations

from flask import Flask

from bridge.config import ServerSettings, or_exit
from bridge.db.engine import must_fit
from bridge.lib import log as logs
from bridge.processes.broker import CeleryNotifier, tell_of_no_check
from bridge.runtime import Runtime
from bridge.web.app import build_web

MAX_CONNECTIONS = 4
"""Database connections of one web process; a webhook holds one for a few milliseconds."""


SILENCE = 1.5
"""Seconds that the database may leave a webhook waiting. Then Twilio is told 503; it tries again, or is read later."""


def create_app() -> Flask:
    """The web app from the environment's settings. With wrong settings it says what to mend and exits with 2."""
    settings = or_exit(ServerSettings.load)
    or_exit(lambda: must_fit(settings.database_url))
    logs.configure(secrets=logs.secrets_in(settings))
    tell_of_no_check(settings.broker_url, settings.redis_tls_verify)
    notifier = CeleryNotifier(settings.broker_url, settings.redis_tls_verify)
    return build_web(Runtime.build(settings, notifier, pool_size=MAX_CONNECTIONS, silence=SILENCE))
