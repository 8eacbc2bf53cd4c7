"""The asking: the turn is said to the agent, in a new chat where there is none or the old one has ended."""

from __future__ import annotations

from dataclasses import replace

from bridge.chats import rows
from bridge.chats.recap import recap
from bridge.chats.rows import OpenChat
from bridge.config import Route
from bridge.db.models import Conversation, Turn, TurnStatus
from bridge.providers.agents.contract import ChatState, NewChat
from bridge.providers.agents.transcript import Bookmark, advance, bookmark
from bridge.providers.errors import ChatEnded, RemoteError
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import LeaseLost
from bridge.runtime import Runtime
from bridge.turns.claim import begin_asking
from bridge.turns.values import Answer, ClaimedTurn, GiveUp, NotReceived, RetryAt

NEW_CHATS = 8
"""Attempts after which new chats that end at once are taken for the agent's way: each of them costs money."""


def ask(rt: Runtime, claimed: ClaimedTurn) -> Answer:
    """Say it; in a new chat when there is none or the old one has ended, and then once more."""
    if claimed.chat is None:
        return ask_in_new_chat(rt, claimed)
    no_poison(claimed)
    try:
        return _say(rt, claimed, claimed.chat)
    except ChatEnded:
        return ask_in_new_chat(rt, claimed, ended=claimed.chat)
    except NotReceived as not_heard:
        if not_heard.error.worth_retry or not claimed.chat.bookmark.user_items:
            raise
        leave(rt, claimed, rows.REFUSES)  # the chat may be at fault, and not the text: a new one tells
        return ask_in_new_chat(rt, claimed)


def no_poison(claimed: ClaimedTurn) -> None:
    """Raises :class:`Hopeless` for a turn at which the provider has failed too often while it served others."""
    if claimed.spent:
        raise GiveUp(f"the agent fails at it again and again, and serves others: {claimed.error}")


def leave(rt: Runtime, claimed: ClaimedTurn, reason: str) -> None:
    """The turn was not heard in its chat, and is not asked there any more."""
    with rt.sessions.begin() as session:
        conversation_queue.verify_lease(session, claimed.lease)
        session.get_one(Turn, claimed.turn_id).status = TurnStatus.WAITING
        rows.retire(rt, session, claimed.lease.conversation_id, reason)


def ask_in_new_chat(rt: Runtime, claimed: ClaimedTurn, ended: OpenChat | None = None) -> Answer:
    """Open a chat and say it there, once. ``ended``: the chat that turned out to be over; that is noted first."""
    no_poison(claimed)
    about, route = _about(rt, claimed, ended)
    _check_heartbeat(rt, claimed)
    opened = rt.agents.of(route.provider).create_chat(about)
    chat = _open(rt, claimed, route, opened.id, bookmark(opened.items or ()))
    try:
        return _say(rt, claimed, chat)
    except ChatEnded as error:
        _about(rt, claimed, ended=chat)
        if claimed.attempts >= NEW_CHATS:
            raise GiveUp(f"every new chat has ended at once: {error}") from error
        raise RetryAt(f"the new chat has ended at once: {error}", claimed.next_try(rt.now())) from error


def _say(rt: Runtime, claimed: ClaimedTurn, chat: OpenChat) -> Answer:
    """The one call that must never be made twice. ``ASKING`` has been committed just before."""
    _check_heartbeat(rt, claimed)
    try:
        items = rt.agents.of(chat.provider).complete(chat.provider_chat_id, claimed.content)
    except ChatEnded:
        raise
    except RemoteError as error:
        if error.maybe_done:
            raise
        raise NotReceived(error) from error
    ended = any(item.ends_chat for item in items)
    answer = Answer(chat, items, advance(chat.bookmark, items), ended)
    return answer if answer.texts or ended else _silent(rt, answer)


def _silent(rt: Runtime, answer: Answer) -> Answer:
    """An agent that says nothing may have ended the chat: ask, and do without when there is no telling."""
    try:
        chat = rt.agents.of(answer.chat.provider).get_chat(answer.chat.provider_chat_id)
    except RemoteError as error:
        return replace(answer, ended=isinstance(error, ChatEnded))
    return replace(answer, ended=chat.state is ChatState.ENDED)


def _check_heartbeat(rt: Runtime, claimed: ClaimedTurn) -> None:
    """Right before a call: a process that was halted or cut off for long is not in charge any more."""
    if not rt.heartbeat.may_start_work(claimed.lease.worker):
        raise LeaseLost("this worker has had no pulse")


def _about(rt: Runtime, claimed: ClaimedTurn, ended: OpenChat | None) -> tuple[NewChat, Route]:
    """Note that the turn was not heard and that the old chat, if any, has ended; gather what the new one is told."""
    with rt.sessions.begin() as session:
        conversation_queue.verify_lease(session, claimed.lease)
        session.get_one(Turn, claimed.turn_id).status = TurnStatus.WAITING
        if ended:
            rows.end(rt, session, ended, "ended at the provider")
        conversation = session.get_one(Conversation, claimed.lease.conversation_id)
        route = rt.agents.route(conversation.bridge_number)
        about = NewChat(
            conversation_id=conversation.id,
            user_number=conversation.phone,
            agent_number=conversation.bridge_number,
            previous_conversation="" if claimed.untold else recap(session, rt.settings, conversation, rt.now()),
            route=route,
        )
        return about, route


def _open(rt: Runtime, claimed: ClaimedTurn, route: Route, provider_chat_id: str, bookmark: Bookmark) -> OpenChat:
    """Note the new chat, and that the turn is being said in it."""
    with rt.sessions.begin() as session:
        conversation_queue.verify_lease(session, claimed.lease)
        chat = rows.insert(rt, session, claimed.lease.conversation_id, route, provider_chat_id, bookmark)
        if chat is None:  # it may be somebody else's
            raise RetryAt("the new chat is not a new one", claimed.next_try(rt.now()))
        begin_asking(rt, session, claimed, chat)
        return chat
