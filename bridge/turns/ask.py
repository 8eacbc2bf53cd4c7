"""Asking the agent: in the open chat, or in a new one if none is open or the old one has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bridge.chats import rows
from bridge.chats.recap import note_of, recap
from bridge.chats.rows import OpenChat
from bridge.config import Route
from bridge.db.models import Conversation, Turn, TurnStatus
from bridge.db.transaction import Transaction
from bridge.inbound import holder
from bridge.providers.agents.contract import ChatState, NewChat, RemoteChat
from bridge.providers.agents.transcript import Bookmark, advance, at_the_end, bookmark, find_turn, unread_handoff
from bridge.providers.errors import ChatEnded, RemoteError, WithHuman
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import LeaseLost
from bridge.runtime import Runtime
from bridge.turns import store
from bridge.turns.claim import begin_asking
from bridge.turns.requested import requested_chat
from bridge.turns.store import NewChatRow
from bridge.turns.values import Answer, ClaimedTurn, Escalated, GiveUp, NotAsked, NotReceived, Outcome, RetryAt

NEW_CHATS = 8
"""Attempts after which the turn is given up if each new chat ends immediately. Each new chat costs money."""


@dataclass(frozen=True)
class Opened:
    """A chat that was opened for a turn."""

    chat: OpenChat
    seen: RemoteChat
    """As the provider has shown it."""


def ask(rt: Runtime, claimed: ClaimedTurn) -> Outcome:
    """Send the turn to the agent. If no chat is open or it has ended, open a new one and ask there, once."""
    if claimed.chat is None:
        return ask_in_new_chat(rt, claimed)
    if poisoned := poison(claimed):
        return poisoned
    try:
        outcome = _complete(rt, claimed, claimed.chat)
    except ChatEnded:
        return ask_in_new_chat(rt, claimed, ended=claimed.chat)
    except WithHuman:
        return escalated(rt, claimed.chat)
    if not isinstance(outcome, NotReceived) or outcome.error.worth_retry or not claimed.chat.bookmark.user_items:
        return outcome
    leave(rt, claimed, rows.REFUSES)  # the chat may be at fault, and not the text: try a new one
    return ask_in_new_chat(rt, claimed)


def poison(claimed: ClaimedTurn) -> GiveUp | None:
    """Return :class:`GiveUp` if the provider has failed at this turn too often while it served others."""
    if not claimed.spent:
        return None
    return GiveUp(f"the agent fails at it again and again, and serves others: {claimed.error}")


def leave(rt: Runtime, claimed: ClaimedTurn, reason: str) -> None:
    """Retire the chat, and record that it has not received the turn."""
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        tx.session.get_one(Turn, claimed.turn_id).status = TurnStatus.WAITING
        rows.retire(tx, claimed.lease.conversation_id, reason)


def ask_in_new_chat(rt: Runtime, claimed: ClaimedTurn, ended: OpenChat | None = None) -> Outcome:
    """Open a chat and ask there, once. ``ended``: the old chat, which has ended; that is recorded first.

    If an earlier attempt may have opened a chat already, use that one.
    """
    opened = open_chat(rt, claimed, ended)
    if not isinstance(opened, Opened):
        return opened
    chat = opened.chat
    try:
        return _complete(rt, claimed, chat)
    except ChatEnded as error:
        _record_end(rt, claimed, chat)
        if claimed.attempts >= NEW_CHATS:
            return GiveUp(f"every new chat ended immediately: {error}")
        return RetryAt(f"the new chat ended immediately: {error}", claimed.next_try(rt.now()))
    except WithHuman:
        return escalated(rt, chat)


def open_chat(rt: Runtime, claimed: ClaimedTurn, ended: OpenChat | None = None) -> Opened | Outcome:
    """Open a chat, and record that the turn is being asked in it. The arguments are those of ask_in_new_chat."""
    if poisoned := poison(claimed):
        return poisoned
    opened = requested_chat(rt, claimed) or _create(rt, claimed, ended)
    if not isinstance(opened, RemoteChat):
        return opened
    route = rt.agents.route(claimed.bridge_number)
    chat = _open(rt, claimed, route, opened.id, bookmark(opened.items or ()))
    if chat is None:
        return RetryAt("the provider returned a known chat as a new one", claimed.next_try(rt.now()))
    return Opened(chat, opened)


def escalated(rt: Runtime, chat: OpenChat) -> Escalated:
    """Return the outcome for a chat that refuses the turn because a human has it. The chat may show a message."""
    try:
        items = rt.agents.of(chat.provider).get_chat(chat.provider_chat_id).items
    except RemoteError:
        items = None
    return Escalated(chat, at_the_end(items, chat.bookmark), unread_handoff(items, chat.bookmark))


def _create(rt: Runtime, claimed: ClaimedTurn, ended: OpenChat | None) -> RemoteChat | NotReceived | NotAsked:
    """Open a chat. An error that leaves open whether there is one now is raised: the turn's row says so already."""
    about = claimed.about if claimed.about and not ended else _about(rt, claimed, ended)
    if about is None:
        return NotAsked()
    _check_heartbeat(rt, claimed)
    try:
        return rt.agents.of(rt.agents.route(claimed.bridge_number).provider).create_chat(about)
    except RemoteError as error:
        if error.maybe_done:
            raise
        return NotReceived(error)


def _complete(rt: Runtime, claimed: ClaimedTurn, chat: OpenChat) -> Answer | NotReceived:
    """Make the one call that must never be made twice. ``ASKING`` was committed just before."""
    _check_heartbeat(rt, claimed)
    try:
        items = rt.agents.of(chat.provider).complete(chat.provider_chat_id, claimed.content)
    except (ChatEnded, WithHuman):
        raise
    except RemoteError as error:
        if error.maybe_done:
            raise
        return NotReceived(error)
    ended = any(item.ends_chat for item in items)
    escalates = any(item.escalates for item in items) and not ended
    answer = Answer(chat, items, advance(chat.bookmark, items, claimed.content), ended, escalates)
    return _check_silence(rt, claimed, answer) if answer.silent else answer


def _check_silence(rt: Runtime, claimed: ClaimedTurn, answer: Answer) -> Answer:
    """Ask the provider why the agent sends no text: the chat may have ended, or be with a human.

    If the provider fails at that, the chat stays open. A human's chat may show a message that the answer did not have.
    """
    try:
        chat = rt.agents.of(answer.chat.provider).get_chat(answer.chat.provider_chat_id)
    except RemoteError as error:
        return replace(answer, ended=isinstance(error, ChatEnded))
    if chat.state is not ChatState.WITH_HUMAN:
        return replace(answer, ended=chat.state is ChatState.ENDED)
    before = answer.chat.bookmark
    shown = find_turn(chat.items, before, claimed.content).answer or answer.items
    return replace(answer, items=shown, bookmark=advance(before, shown, claimed.content), escalated=True)


def _check_heartbeat(rt: Runtime, claimed: ClaimedTurn) -> None:
    """Check right before a call that this worker may make it. A worker that was halted or cut off must not."""
    if not rt.heartbeat.may_start_work(claimed.lease.worker):
        raise LeaseLost("this worker has had no heartbeat")


def _record_end(rt: Runtime, claimed: ClaimedTurn, chat: OpenChat) -> None:
    """Record that the chat has ended without having received the turn."""
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        tx.session.get_one(Turn, claimed.turn_id).status = TurnStatus.WAITING
        rows.end(tx, chat, rows.AT_PROVIDER)


def is_held(tx: Transaction, claimed: ClaimedTurn) -> bool:
    """Return whether a person has got the conversation, so that this turn must not be asked. Its row is locked."""
    return claimed.sends and holder.is_held(tx.session.get_one(Conversation, claimed.lease.conversation_id))


def _about(rt: Runtime, claimed: ClaimedTurn, ended: OpenChat | None) -> NewChat | None:
    """Record that the agent has not received the turn, that a new chat is being requested, and the old chat's end.

    Return what the provider needs for a new chat; ``None``: a person has got the conversation meanwhile.
    """
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        turn = tx.session.get_one(Turn, claimed.turn_id)
        turn.status = TurnStatus.WAITING
        if ended:
            rows.end(tx, ended, rows.AT_PROVIDER)
        if is_held(tx, claimed):
            return None
        turn.chat_requested_at, turn.response_received = tx.now, False
        conversation = tx.session.get_one(Conversation, claimed.lease.conversation_id)
        route = rt.agents.route(conversation.bridge_number)
        return NewChat(
            conversation_id=conversation.id,
            user_number=conversation.phone,
            agent_number=conversation.bridge_number,
            previous_conversation="" if claimed.without_recap else recap(tx.session, rt.settings, conversation, tx.now),
            team_note=note_of(rt.settings, conversation, tx.now),
            route=route,
            turn_id=claimed.turn_id,
            variables=claimed.instruction.variables if claimed.instruction else {},
        )


def _open(
    rt: Runtime, claimed: ClaimedTurn, route: Route, provider_chat_id: str, bookmark: Bookmark
) -> OpenChat | None:
    """Record the new chat, and that the turn is being asked in it.

    Return ``None`` if the chat is known already: it may belong to another conversation.
    """
    new = NewChatRow(claimed.lease, claimed.turn_id, route.provider, route.agent_id, provider_chat_id, bookmark)
    if chat := rt.together(open_many, new):
        return chat
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        chat = rows.insert(tx, claimed.lease.conversation_id, route, provider_chat_id, bookmark)
        if chat is not None:
            begin_asking(tx, claimed, chat)
        return chat


def open_many(rt: Runtime, chats: Sequence[NewChatRow]) -> Sequence[OpenChat | None]:
    """Record new chats, and that their turns are being asked in them. ``None``: that needs a transaction of its own."""
    with rt.database.transaction() as tx:
        return store.insert_chats(tx, chats)
