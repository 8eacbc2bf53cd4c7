"""The agent speaks first: a chat is opened, and its greeting is the answer to the turn. Nothing is asked.

The chat is stored before the greeting goes into the outbox. So after a crash the greeting is read in that chat, and no
other chat is opened.
"""

from __future__ import annotations

from itertools import takewhile

from bridge.chats.rows import OpenChat
from bridge.providers.agents.contract import ChatState, RemoteChat, Speaker
from bridge.providers.agents.transcript import bookmark
from bridge.providers.errors import ChatEnded, RemoteError
from bridge.runtime import Runtime
from bridge.turns.ask import Opened, open_chat, poison
from bridge.turns.values import Answer, ClaimedTurn, GiveUp, Outcome, RetryAt

NO_GREETING = "the agent has no greeting: set its begin_message, or say with `content` what it should begin with"


def greet(rt: Runtime, claimed: ClaimedTurn) -> Outcome:
    """Return the greeting of the turn's chat. If it has none yet, open one.

    If an operator wants the turn asked again and the chat has no greeting, open another one: it may have one now.
    """
    if claimed.chat is None:
        return _in_new_chat(rt, claimed)
    try:
        return _shown(rt, claimed, claimed.chat) or _without(rt, claimed)
    except ChatEnded:
        return _in_new_chat(rt, claimed, ended=claimed.chat)


def _without(rt: Runtime, claimed: ClaimedTurn) -> Outcome:
    return _in_new_chat(rt, claimed) if claimed.reopened else GiveUp(NO_GREETING)


def _in_new_chat(rt: Runtime, claimed: ClaimedTurn, ended: OpenChat | None = None) -> Outcome:
    """Open a chat. If the answer to that does not show a greeting, the chat itself may."""
    opened = open_chat(rt, claimed, ended)
    if not isinstance(opened, Opened):
        return opened
    try:
        return _greeting(opened.chat, opened.seen) or _shown(rt, claimed, opened.chat) or GiveUp(NO_GREETING)
    except ChatEnded as error:
        return RetryAt(f"the new chat ended immediately: {error}", claimed.next_try(rt.now()))


def _shown(rt: Runtime, claimed: ClaimedTurn, chat: OpenChat) -> Outcome | None:
    """Read the chat. Return ``None`` if it has no greeting."""
    try:
        return _greeting(chat, rt.agents.of(chat.provider).get_chat(chat.provider_chat_id))
    except ChatEnded:
        raise
    except RemoteError as error:
        again = RetryAt(str(error), claimed.next_try(rt.now(), error.retry_after), error=error)
        return poison(claimed) or again


def _greeting(chat: OpenChat, seen: RemoteChat) -> Answer | None:
    """Return what the agent has written before anybody has written to it."""
    items = tuple(takewhile(lambda item: item.speaker is not Speaker.USER, seen.items or ()))
    if not any(item.speaker is Speaker.AGENT for item in items):
        return None
    ended, escalated = seen.state is ChatState.ENDED, seen.state is ChatState.WITH_HUMAN
    return Answer(chat, items, bookmark(seen.items or ()), ended, escalated)
