"""A chat that an earlier attempt may have opened: it is searched at the provider before another one is requested.

A request for a chat may be carried out without our knowledge: its answer was lost, or the worker was killed before it
stored the chat. The agent's pre-session tools may have run then. So the claim of a turn without a chat records the
request (``turns.chat_requested_at``) in a commit that it makes anyway, and each chat carries the turn's id.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import select

from bridge.config import Route
from bridge.db.models import Chat
from bridge.providers.agents.contract import NewChat, RemoteChat
from bridge.providers.errors import RemoteError
from bridge.runtime import Runtime
from bridge.turns.values import NOT_RECEIVED_AFTER, STILL_ON_ITS_WAY, ClaimedTurn, RetryAt

log = logging.getLogger(__name__)

SEARCHED_BEFORE = timedelta(minutes=2)
"""How far the search goes back before the last request: earlier ones may have been carried out too, and the clocks of
the provider and of our machines differ."""

SEARCH_AGAIN_AFTER = timedelta(seconds=10)
"""The longest pause between two searches; the person is waiting."""

SEARCHES = 4
"""Attempts at the turn in which a search that fails is repeated later. After them a chat is requested without it."""


def requested_chat(rt: Runtime, claimed: ClaimedTurn) -> RemoteChat | RetryAt | None:
    """Return the chat of an earlier attempt with its items; ``None``: there is none, or the list can't tell."""
    if claimed.chat_requested_at is None:
        return None
    route = rt.agents.route(claimed.bridge_number)
    try:
        found = _found(rt, claimed, route)
    except RemoteError as error:
        return _later(rt, claimed, error)
    if found:
        log.info("turn %s goes on in a chat that an earlier attempt has opened", claimed.turn_id)
        return found
    shown_by = claimed.chat_requested_at + (NOT_RECEIVED_AFTER if claimed.response_received else STILL_ON_ITS_WAY)
    if rt.now() >= shown_by:
        return None
    return RetryAt("the list does not show the new chat yet", min(shown_by, rt.now() + SEARCH_AGAIN_AFTER))


def _found(rt: Runtime, claimed: ClaimedTurn, route: Route) -> RemoteChat | None:
    assert claimed.chat_requested_at
    api = rt.agents.of(route.provider)
    about = NewChat(
        conversation_id=claimed.lease.conversation_id,
        user_number=claimed.phone,
        agent_number=claimed.bridge_number,
        route=route,
        turn_id=claimed.turn_id,
    )
    chats = api.find_chats(about, claimed.chat_requested_at - SEARCHED_BEFORE)
    known = _known(rt, route.provider, [chat.id for chat in chats]) if chats else set()
    new = [chat.id for chat in chats if chat.id not in known]
    return api.get_chat(new[0]) if new else None


def _known(rt: Runtime, provider: str, ids: list[str]) -> set[str]:
    """Return those that are stored: the turn has been asked in them, and left them."""
    stored = select(Chat.provider_chat_id).where(Chat.provider == provider, Chat.provider_chat_id.in_(ids))
    with rt.database.read() as session:
        return set(session.scalars(stored))


def _later(rt: Runtime, claimed: ClaimedTurn, error: RemoteError) -> RetryAt | None:
    """Search again later, unless that can't help, or was tried often enough.

    A provider that is not reached or refuses our account does the same with the request for a chat, which says so.
    """
    if error.provider_wide or not error.worth_retry or claimed.attempts > SEARCHES:
        log.warning("turn %s gets a new chat without a search for an earlier one: %s", claimed.turn_id, error)
        return None
    return RetryAt(str(error), claimed.next_try(rt.now(), error.retry_after), error=error)
