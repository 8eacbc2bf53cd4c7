"""Events of the agent's providers: a chat has ended there, its analysis is ready, or a human has it.

An event spares a refused call and tells operators more. Nothing depends on it: the end of a chat is also noticed at its
next text. Events may be repeated, and come in any order. A chat that is not known here is ignored, because others may
use the same account.

A chat may end while a turn is being asked in it. Its end only keeps later turns out. The outcome of this turn is found
as always: the provider answers, or refuses the call, or ``bridge.turns.reconcile`` reads the chat. The same holds for
a human who gets the chat meanwhile: only later turns wait.
"""

from __future__ import annotations

import logging

from sqlalchemy import ColumnElement, Row, select

from bridge.chats import rows
from bridge.db.models import Chat, ChatStatus, Conversation
from bridge.db.transaction import Transaction
from bridge.inbound import holder
from bridge.outbound import outbox
from bridge.providers.agents.contract import ChatState
from bridge.providers.agents.transcript import Bookmark, at_the_end, unread_handoff, unsent
from bridge.providers.agents.webhooks import ChatEvent, EventKind
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


def record(rt: Runtime, event: ChatEvent) -> None:
    """Record what the event says, if the chat is ours and it is news."""
    with rt.database.transaction() as tx:
        pair = _lock_conversation(tx, event)
        if pair is None:
            return
        chat = tx.session.scalars(select(Chat).where(*_named(event)).with_for_update()).one()
        match event.kind:
            case EventKind.ENDED:
                _end(rt, tx, chat, _closing_words(event, chat) if pair.turn_due_at is None else "")
            case EventKind.ANALYZED:
                _store_analysis(chat, event)
        if event.state is ChatState.WITH_HUMAN and chat.status is ChatStatus.ONGOING and not _is_old(pair, event):
            _escalate(rt, tx, chat, event, busy=pair.turn_due_at is not None)


def _named(event: ChatEvent) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Chat.provider == event.provider, Chat.provider_chat_id == event.chat_id


def _lock_conversation(tx: Transaction, event: ChatEvent) -> Row[int, object, object] | None:
    """Lock the conversation before the chat, as every transaction does."""
    columns = (Conversation.id, Conversation.turn_due_at, Conversation.holder_since)
    of_the_chat = select(*columns).join(Chat, Chat.conversation_id == Conversation.id).where(*_named(event))
    return tx.session.execute(of_the_chat.with_for_update(of=Conversation)).first()


def _end(rt: Runtime, tx: Transaction, chat: Chat, closing: str) -> None:
    """Record that the chat has ended. A repeated event finds it ended, and the closing words are not sent again.

    A chat that was ended here first keeps its reason, and gets no closing words.
    """
    if chat.status is ChatStatus.ENDED:
        return
    was_ongoing = chat.status is ChatStatus.ONGOING
    chat.status, chat.ended_at, chat.due_at = ChatStatus.ENDED, tx.now, None
    chat.end_reason = chat.end_reason or rows.AT_PROVIDER
    tx.session.flush()
    log.info("chat %s has ended at its provider", chat.id)
    if was_ongoing:
        holder.give_back(tx, chat.conversation_id)
    if was_ongoing and closing and rt.settings.send_auto_close_message:
        outbox.put_notice(rt, tx, chat.conversation_id, closing)


def _is_old(pair: Row[int, object, object], event: ChatEvent) -> bool:
    """Return whether the provider sent the event before the holder of the conversation last changed."""
    return pair.holder_since is not None and event.signed_at <= pair.holder_since


def _escalate(rt: Runtime, tx: Transaction, chat: Chat, event: ChatEvent, *, busy: bool) -> None:
    """Record that a human has the chat. While a turn is open or a text waits, its worker tells the person."""
    if busy:
        holder.report(rt, tx, chat.conversation_id, chat.provider)
        return
    before = Bookmark(chat.user_items, chat.last_item_id)
    words = unread_handoff(event.items, before)
    end = at_the_end(event.items, before)
    chat.user_items, chat.last_item_id = end.user_items, end.last_item_id
    holder.escalate(rt, tx, chat.conversation_id, chat.provider, words)


def _closing_words(event: ChatEvent, chat: Chat) -> str:
    """Return what the agent wrote after its last answer: its ``auto_close_message``. Empty if it wrote nothing.

    The caller makes sure that no turn is open and no text waits. Else the new items may be an answer, which is sent as
    an answer; and to say good-bye to a person who has just texted would be wrong.
    """
    return "\n".join(unsent(event.items, Bookmark(chat.user_items, chat.last_item_id)))


def _store_analysis(chat: Chat, event: ChatEvent) -> None:
    """Store the analysis, unless a newer one is stored: the provider can be told to analyze a chat again."""
    if chat.analyzed_at and chat.analyzed_at > event.signed_at:
        return
    chat.analyzed_at = event.signed_at
    chat.summary, chat.sentiment = event.analysis.summary, event.analysis.sentiment
    chat.successful, chat.cost = event.analysis.successful, event.analysis.cost
