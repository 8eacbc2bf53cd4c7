"""Retell's webhook for events. Its key is the API key with the webhook badge; its chats show their items, with ids."""

from __future__ import annotations

from bridge.providers.agents.retell import parse
from bridge.providers.agents.retell.errors import PROVIDER
from bridge.providers.agents.webhooks import ChatEvent, Signed, read_event


def event(signed: Signed) -> ChatEvent | None:
    return read_event(PROVIDER, signed, parse.state, parse.items)
