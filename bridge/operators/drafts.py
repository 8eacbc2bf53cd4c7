"""Drafts: answers of the agent that were not sent, because a person has the conversation. An operator decides.

A draft that is sent becomes a text by the operator, who may have changed it. The draft stays and names that text. A
draft that is discarded stays too, and is no longer offered.
"""

from __future__ import annotations

from sqlalchemy import select

from bridge.db.models import Conversation, Message, MessageStatus
from bridge.db.transaction import Transaction
from bridge.lib.errors import BridgeError
from bridge.operators import audit, conversations, texts
from bridge.operators.audit import Action, Entry
from bridge.operators.idempotency import Asked
from bridge.operators.texts import Queued
from bridge.runtime import Runtime


class DraftGone(BridgeError):
    """There is no such draft any more. The words are for the operator."""


def send(rt: Runtime, asked: Asked, draft_id: int, body: str) -> Queued:
    """Send the draft in these words. Raise :class:`DraftGone`, or the errors of ``texts.write_in``."""
    phone, conversation_id = _place(rt, draft_id)
    shaped = texts.shaped(rt, phone, body)

    def put(tx: Transaction) -> Queued:
        draft = _locked(tx, asked.operator, draft_id)
        queued = texts.put(rt, tx, asked, conversation_id, shaped)
        draft.resent_as, draft.dismissed_at = queued.id, tx.now
        return queued

    with rt.database.transaction() as tx:
        return texts.once(tx, asked, lambda: put(tx))


def discard(rt: Runtime, operator: str, draft_id: int) -> None:
    """Offer the draft no more. Raise :class:`DraftGone`, or ``HeldBy``."""
    with rt.database.transaction() as tx:
        draft = _locked(tx, operator, draft_id)
        draft.dismissed_at = tx.now
        audit.write(tx, Entry(operator, Action.DISMISS, f"draft {draft_id}", draft.conversation_id))


def _place(rt: Runtime, draft_id: int) -> tuple[str, int]:
    with rt.database.read() as session:
        which = select(Conversation.phone, Conversation.id).join(Message).where(Message.id == draft_id)
        found = session.execute(which).first()
    if found is None:
        raise DraftGone("There is no such draft.")
    return found.phone, found.id


def _locked(tx: Transaction, operator: str, draft_id: int) -> Message:
    """Return the draft. Its conversation is locked before it."""
    conversation_id = tx.session.scalar(select(Message.conversation_id).where(Message.id == draft_id))
    if conversation_id is None:
        raise DraftGone("There is no such draft.")
    conversations.must_be_free(conversations.lock(tx, conversation_id), operator)
    draft = tx.session.get_one(Message, draft_id, with_for_update=True)
    if draft.status is not MessageStatus.DRAFT:
        raise DraftGone("This is no draft.")
    if draft.resent_as:
        sent = tx.session.get_one(Message, draft.resent_as)
        raise DraftGone(f"{sent.operator} was first, and has sent this draft.")
    if draft.dismissed_at:
        raise DraftGone("Somebody has discarded this draft.")
    return draft
