"""The outbox: texts that wait to be sent, in the order of their conversation's queue.

Sending them: ``bridge.outbound.delivery.process``. Their delivery receipts: ``bridge.outbound.receipts``.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from bridge.db.engine import insert_if_new
from bridge.db.models import Conversation, Direction, Message, MessageStatus
from bridge.db.transaction import Transaction
from bridge.outbound import opt_outs
from bridge.outbound.formatting.shape import Recipient, Shaped, Sms, shape
from bridge.queues.conversation_queue import DELIVERIES, enqueue
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


def recipient(rt: Runtime, phone: str) -> Recipient:
    """Return how texts to this phone are shaped."""
    settings = rt.settings
    return Recipient(phone, smart_encoding=settings.smart_encoding, segments_per_text=settings.segments_per_text)


@dataclass(frozen=True)
class Draft:
    """Shaped texts for one phone, to be sent before they expire."""

    shaped: Shaped
    expires_at: datetime
    turn_id: int | None = None
    """The turn that they answer; ``None`` for texts of the bridge itself."""
    is_opt_out_confirmation: bool = False
    operator: str | None = None
    """Who wrote them; ``None``: the agent or the bridge."""


def opened(tx: Transaction, *, phone: str, bridge_number: str) -> int:
    """Return the conversation of this pair, locked. It is inserted if it is new."""
    pair = {"phone": phone, "bridge_number": bridge_number}
    row = insert_if_new(tx.session, Conversation).values(**pair, created_at=tx.now)
    # It locks the row that is there. One that is deleted just now is inserted anew.
    row = row.on_conflict_do_update(index_elements=list(pair), set_={"phone": phone})
    return tx.session.scalars(row.returning(Conversation.id)).one()


def put(tx: Transaction, conversation_id: int, draft: Draft) -> int:
    """Put texts at the end of the conversation's queue, in order. Return the number of messages.

    A person who has opted out gets nothing but the confirmation of that. The caller has the conversation locked.
    """
    messages = draft.shaped.messages
    if not messages:
        return 0
    if not draft.is_opt_out_confirmation and opt_outs.has_opted_out(tx, conversation_id):
        log.info("nothing is sent in conversation %s: %s", conversation_id, opt_outs.WHY)
        return 0
    for sms in messages:
        add(tx, conversation_id, sms, draft)
    enqueue(tx, DELIVERIES, conversation_id)
    if draft.shaped.left_out:
        log.error(
            "the answer of turn %s is too long for %s messages: the rest is cut off", draft.turn_id, len(messages)
        )
    return len(messages)


def keep(tx: Transaction, conversation_id: int, draft: Draft) -> None:
    """Store texts of the agent as drafts. They are shown to operators, and not sent."""
    for sms in draft.shaped.messages:
        tx.session.add(
            Message(
                conversation_id=conversation_id,
                turn_id=draft.turn_id,
                direction=Direction.OUT,
                status=MessageStatus.DRAFT,
                body=sms.body,
                segments=sms.segments,
                created_at=tx.now,
            )
        )
        tx.session.flush()  # the order of the ids is the order of the texts


def put_notice(
    rt: Runtime, tx: Transaction, conversation_id: int, words: str, *, is_opt_out_confirmation: bool = False
) -> int:
    """Put a text of the bridge itself into the queue. It expires as an answer would. Return the number of messages."""
    phone = tx.session.scalars(select(Conversation.phone).where(Conversation.id == conversation_id)).one()
    shaped = shape([words], recipient(rt, phone))  # the settings keep it short
    expires_at = tx.now + rt.settings.answer_within
    return put(tx, conversation_id, Draft(shaped, expires_at, is_opt_out_confirmation=is_opt_out_confirmation))


def add(tx: Transaction, conversation_id: int, sms: Sms, draft: Draft) -> Message:
    """Insert one waiting text, with a reference of its own. The order of the ids is the order of the texts."""
    message = Message(
        conversation_id=conversation_id,
        turn_id=draft.turn_id,
        direction=Direction.OUT,
        status=MessageStatus.QUEUED,
        body=sms.body,
        segments=sms.segments,
        created_at=tx.now,
        expires_at=draft.expires_at,
        reference=secrets.token_hex(16),
        is_opt_out_confirmation=draft.is_opt_out_confirmation,
        operator=draft.operator,
    )
    tx.session.add(message)
    tx.session.flush()
    return message
