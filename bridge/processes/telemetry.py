"""What a process sends elsewhere: spans by OpenTelemetry, and errors to Sentry. Both are made of records of the log.

So both know what the log knows, which is no body and no full number, and there is no code for them on the way of a
text. Without their settings neither library is imported.
"""

from __future__ import annotations

import logging

from bridge.config import Settings
from bridge.lib import log as logs


def start(settings: Settings) -> None:
    """Begin to send what the settings ask for. Call it behind ``logs.configure``, once in a process."""
    root = logging.getLogger()
    if settings.otel_exporter_otlp_endpoint:
        from bridge.processes.spans import spans_to

        root.addHandler(spans_to(settings))
    if settings.sentry_dsn:
        from bridge.processes.sentry import errors_to

        root.addHandler(errors_to(settings.sentry_dsn.get_secret_value(), logs.secrets_in(settings)))
