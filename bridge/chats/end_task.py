"""The task that ends a chat at its provider."""

from __future__ import annotations

import logging

from bridge.chats import ending
from bridge.providers.errors import RemoteError
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


def end_chat(rt: Runtime, chat_id: int) -> None:
    """End a chat at its provider. A chat that the provider has ended already counts as ended.

    On a fault the chat stays ``ENDING``, and the sweeper wakes a worker again.
    """
    chat = ending.ending(rt, chat_id)
    if chat is None:
        return
    try:
        rt.agents.of(chat.provider).end_chat(chat.chat_id)
    except RemoteError as error:
        log.warning("chat %s could not be ended yet: %s", chat_id, error)
        return
    ending.mark_ended(rt, chat_id)
