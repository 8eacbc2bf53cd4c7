"""Errors for Sentry, made of the log's records of level ERROR.

An event is made anew of what it may show: the masked message, and of each exception its type and its places in the
code. The words of an exception may hold a text or a number, so they stay here, as do local variables and requests.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.logging import EventHandler

from bridge import __version__
from bridge.lib.log import OneObject

KEPT = ("event_id", "timestamp", "level", "logger", "platform", "release")

OF_A_FRAME = ("filename", "function", "module", "lineno", "in_app")


def errors_to(dsn: str, secrets: Iterable[str]) -> EventHandler:
    """Return the handler that sends errors to this project."""
    shown = OneObject(secrets)

    def before_send(event: Any, hint: Mapping[str, Any]) -> Any:
        return safe(event, hint, shown)

    sentry_sdk.init(
        dsn,
        release=f"sms-bridge@{__version__}",
        before_send=before_send,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[AtexitIntegration()],
        auto_session_tracking=False,
        include_local_variables=False,
        include_source_context=False,
        max_breadcrumbs=0,
        max_request_body_size="never",
        send_client_reports=False,
        server_name="",
    )
    return EventHandler(logging.ERROR)


def safe(event: Mapping[str, Any], hint: Mapping[str, Any], shown: OneObject) -> dict[str, Any] | None:
    """Return the event with what it may show, and nothing else. An event that no record made is not sent."""
    record = hint.get("log_record")
    if record is None:
        return None
    values = shown.values(record)
    kept = {name: event[name] for name in KEPT if name in event}
    tags = {name: str(value) for name, value in values.items() if name not in ("time", "message", "error")}
    exceptions = [_exception(each) for each in event.get("exception", {}).get("values", [])]
    return {
        **kept,
        "logentry": {"message": values["message"]},
        "tags": tags,
        **({"exception": {"values": exceptions}} if exceptions else {}),
    }


def _exception(raised: Mapping[str, Any]) -> dict[str, Any]:
    frames = (raised.get("stacktrace") or {}).get("frames", [])
    places = [{name: frame[name] for name in OF_A_FRAME if name in frame} for frame in frames]
    return {"type": raised.get("type"), "module": raised.get("module"), "stacktrace": {"frames": places}}
