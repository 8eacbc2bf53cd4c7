"""Texts to people: what is to be sent stands in a conversation's line, in order.

What lives here: putting it there. Sending it: ``bridge.outbound.delivery.process``. What the carrier says became of it:
``bridge.outbound.receipts``.
"""

from __future__ import annotations

import logging
import secrets
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bridge.db.models import Conversation, Direction, Message, MessageStatus
from bridge.outbound import opt_outs
from bridge.outbound.formatting.shape import Recipient, Shaped, Sms, shape
from bridge.queues.conversation_queue import DELIVERIES, enqueue
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


def recipient(rt: Runtime, phone: str) -> Recipient:
    """How texts to this phone are shaped."""
    settings = rt.settings
    return Recipient(phone, smart_encoding=settings.smart_encoding, segments_per_text=settings.segments_per_text)


def put(
    rt: Runtime,
    session: Session,
    conversation_id: int,
    shaped: Shaped,
    *,
    expires_at: datetime,
    turn_id: int | None = None,
    is_opt_out_confirmation: bool = False,
) -> int:
    """Put texts at the end of the line, in order. They are shaped before, for that may take a second. Returns how many
    messages they are.

    Nothing is put for a person who has opted out, but the confirmation of that. The caller has the conversation locked.
    """
    if not shaped.messages:
        return 0
    if not is_opt_out_confirmation and opt_outs.has_opted_out(session, conversation_id):
        log.info("nothing is sent in conversation %s: %s", conversation_id, opt_outs.WHY)
        return 0
    now = rt.now()
    for sms in shaped.messages:
        session.add(queued(conversation_id, sms, now, expires_at, turn_id, is_opt_out_confirmation))
        session.flush()  # one after the other: the order of the ids is the order of the texts
    session.execute(update(Conversation).where(Conversation.id == conversation_id).values(enqueue(DELIVERIES, now)))
    if shaped.left_out:
        log.error("what turn %s says is too long for %s messages: the rest is cut off", turn_id, len(shaped.messages))
    return len(shaped.messages)


def say(
    rt: Runtime, session: Session, conversation_id: int, words: str, *, is_opt_out_confirmation: bool = False
) -> int:
    """Put what the bridge says by itself: of use as long as an answer would be. Returns how many messages it is."""
    expires_at = rt.now() + rt.settings.answer_within
    phone = session.scalars(select(Conversation.phone).where(Conversation.id == conversation_id)).one()
    shaped = shape([words], recipient(rt, phone))  # the settings keep it short
    return put(
        rt, session, conversation_id, shaped, expires_at=expires_at, is_opt_out_confirmation=is_opt_out_confirmation
    )


def queued(
    conversation_id: int,
    sms: Sms,
    now: datetime,
    expires_at: datetime,
    turn_id: int | None,
    is_opt_out_confirmation: bool,
) -> Message:
    """The row of a text that waits, with a reference of its own."""
    return Message(
        conversation_id=conversation_id,
        turn_id=turn_id,
        direction=Direction.OUT,
        status=MessageStatus.QUEUED,
        body=sms.body,
        segments=sms.segments,
        created_at=now,
        expires_at=expires_at,
        reference=secrets.token_hex(16),
        is_opt_out_confirmation=is_opt_out_confirmation,
    )
