"""Resends: what was not delivered and may succeed later goes again, as a new text.

What lives here: putting it into its line once it is due. Which text, and when: ``bridge.outbound.receipts``.
"""

from __future__ import annotations

import logging

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bridge.db.models import Conversation, Message
from bridge.outbound import opt_outs
from bridge.outbound.formatting.shape import Sms, smaller
from bridge.outbound.outbox import queued, recipient
from bridge.queues.conversation_queue import DELIVERIES, enqueue
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


def send_again(rt: Runtime, limit: int) -> list[int]:
    """Put what was not delivered and is due into its line again. Returns the conversations, for which to ring."""
    due = select(Message.id, Message.conversation_id).where(Message.resend_at <= rt.now())
    with rt.sessions() as session:
        rows = session.execute(due.order_by(Message.resend_at).limit(limit)).all()
    return [conversation_id for message_id, conversation_id in rows if _send_one_again(rt, message_id, conversation_id)]


def _send_one_again(rt: Runtime, message_id: int, conversation_id: int) -> bool:
    """A new text with a reference of its own, behind all that waits already; or several, where one was too large.

    What somebody has locked is left for the next sweep: who is halted must not hold up all the others.
    """
    queue = select(Conversation.id).where(Conversation.id == conversation_id).with_for_update(skip_locked=True)
    due = select(Message).where(Message.id == message_id, Message.resend_at <= rt.now())
    with rt.sessions.begin() as session:
        if session.scalar(queue) is None:
            return False
        failed = session.scalar(due.with_for_update(skip_locked=True))
        if failed is None:  # or another sweep was faster, or it has arrived
            return False
        failed.resend_at = None
        if failed.expires_at is None or rt.now() >= failed.expires_at or opt_outs.forbid(session, failed):
            return False
        for sms in _shaped_again(rt, session, failed):
            again = queued(
                conversation_id, sms, rt.now(), failed.expires_at, failed.turn_id, is_opt_out_confirmation=False
            )
            again.resends = failed.resends + 1
            session.add(again)
            session.flush()  # one after the other: the order of the ids is the order of the pieces
            failed.resent_as = failed.resent_as or again.id
        session.execute(
            update(Conversation).where(Conversation.id == conversation_id).values(enqueue(DELIVERIES, rt.now()))
        )
    log.info("message %s goes again as message %s, time %s", message_id, failed.resent_as, failed.resends + 1)
    return True


def _shaped_again(rt: Runtime, session: Session, failed: Message) -> list[Sms]:
    segments = failed.segments or 1
    if not rt.carrier.meaning(failed.error_code).treatment.in_pieces:
        return [Sms(failed.body, segments)]
    phone = session.get_one(Conversation, failed.conversation_id).phone
    return smaller(failed.body, recipient(rt, phone), segments // 2)
