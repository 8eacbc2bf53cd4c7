"""The webhooks of the agent's providers: verify, parse, store. An event that changes nothing is answered the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, Response, abort, request
from pydantic import SecretStr
from werkzeug.exceptions import HTTPException

from bridge.config import Settings
from bridge.inbound import agent_events
from bridge.providers.agents.retell import webhooks as retell
from bridge.providers.agents.uponai import webhooks as uponai
from bridge.providers.agents.webhooks import ChatEvent, Signed, verified
from bridge.runtime import Runtime
from bridge.web.auth import AGENT, declares
from bridge.web.time_limit import WITHIN, InTime

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024
"""Bytes. An event has the whole chat in it, tool calls included. A larger one is refused, and nothing depends on it."""


@dataclass(frozen=True)
class Webhook:
    """The events of one provider."""

    path: str
    key: Callable[[Settings], SecretStr | None]
    key_name: str
    """The setting with the key."""
    read: Callable[[Signed], ChatEvent | None]


WEBHOOKS = (
    Webhook("/retell/events", lambda settings: settings.retell_api_key, "RETELL_API_KEY", retell.event),
    Webhook("/uponai/events", lambda settings: settings.uponai_webhook_key, "UPONAI_WEBHOOK_KEY", uponai.event),
)
PATHS = frozenset(webhook.path for webhook in WEBHOOKS)


def blueprint(rt: Runtime, within: float = WITHIN) -> Blueprint:
    """Build ``/retell/events`` and ``/uponai/events``."""
    agents = Blueprint("agents", __name__)
    in_time = InTime(within)
    for webhook in WEBHOOKS:
        view = _view(rt, webhook, in_time)
        agents.add_url_rule(webhook.path, webhook.path.strip("/").replace("/", "_"), view, methods=["POST"])
    return agents


def _view(rt: Runtime, webhook: Webhook, in_time: InTime) -> Callable[[], Response]:
    @declares(AGENT)
    def events() -> Response:
        try:
            signed = _verified(rt, webhook)
        except HTTPException as refusal:
            log.warning("%s refused with %s: %s", request.path, refusal.code, refusal.description)
            raise
        event = webhook.read(signed)
        if event:
            in_time(lambda: agent_events.record(rt, event))
        return Response(status=204)

    return events


def _verified(rt: Runtime, webhook: Webhook) -> Signed:
    """Read the body, and check its signature. The log has the reason of a refusal, and nothing of the body."""
    request.max_content_length = MAX_BYTES
    body = request.get_data(cache=False)
    key = webhook.key(rt.settings)
    if key is None:
        abort(403, f"{webhook.key_name} is not set, so every event is refused. Set it and restart.")
    signature = request.headers.get("X-Retell-Signature")
    return verified(key.get_secret_value().strip(), body, signature, rt.now()) or abort(
        403, f"The signature does not fit, or is older than five minutes. Check {webhook.key_name} and the clock."
    )
