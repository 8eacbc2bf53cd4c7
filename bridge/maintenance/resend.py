"""Resends: a text that was not delivered and may succeed later is sent again, as a new text.

Which text, and when: ``bridge.outbound.receipts``.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import bindparam, exists, select

from bridge.db.models import Conversation, Message
from bridge.db.sealing import why_unreadable
from bridge.db.transaction import Transaction
from bridge.outbound import opt_outs
from bridge.outbound.formatting.shape import Shaped, Sms, smaller
from bridge.outbound.outbox import Draft, add, recipient
from bridge.queues.conversation_queue import DELIVERIES, enqueue
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

UNREADABLE_AGAIN = timedelta(minutes=1)
"""The pause before a text whose words can't be decrypted is tried again. It may be that its key is back."""


_IS_DUE = Message.resend_at <= bindparam("now")

ANY_DUE = exists().where(_IS_DUE)
"""Whether a text is to be sent again ``now``."""

_DUE = select(Message.id, Message.conversation_id).where(_IS_DUE).order_by(Message.resend_at).limit(bindparam("most"))


def send_again(rt: Runtime, limit: int) -> None:
    """Put texts that were not delivered and are due into their queues again."""
    with rt.database.read() as session:
        rows = session.execute(_DUE, {"now": rt.now(), "most": limit}).all()
    for message_id, conversation_id in rows:
        _send_one_again(rt, message_id, conversation_id)


def _send_one_again(rt: Runtime, message_id: int, conversation_id: int) -> None:
    """Add a new text with a reference of its own behind all that waits; or several, where one was too large.

    A locked row is left for the next sweep: a halted process must not delay the others.
    """
    unlocked = select(Conversation.id).where(Conversation.id == conversation_id).with_for_update(skip_locked=True)
    due = select(Message).where(Message.id == message_id, Message.resend_at <= rt.now())
    with rt.database.transaction() as tx:
        if tx.session.scalar(unlocked) is None:
            return
        failed = tx.session.scalar(due.with_for_update(skip_locked=True))
        if failed is None:  # another sweep was faster, or it has arrived
            return
        failed.resend_at = None
        if failed.expires_at is None or tx.now >= failed.expires_at or opt_outs.forbid(tx, failed):
            return
        if why_unreadable(failed.body):
            failed.resend_at = min(tx.now + UNREADABLE_AGAIN, failed.expires_at)
            return
        shaped = Shaped(_shaped_again(rt, tx, failed))
        draft = Draft(shaped, failed.expires_at, failed.turn_id, operator=failed.operator)
        again = [add(tx, conversation_id, sms, draft) for sms in shaped.messages]
        for text in again:
            text.resends = failed.resends + 1
        failed.resent_as = again[0].id
        enqueue(tx, DELIVERIES, conversation_id)
    log.info("message %s is sent again as message %s, time %s", message_id, failed.resent_as, failed.resends + 1)


def _shaped_again(rt: Runtime, tx: Transaction, failed: Message) -> list[Sms]:
    segments = failed.segments or 1
    if segments < 2 or not rt.carrier.meaning(failed.error_code).treatment.in_pieces:
        return [Sms(failed.body, segments)]
    phone = tx.session.get_one(Conversation, failed.conversation_id).phone
    return smaller(failed.body, recipient(rt, phone), segments // 2)
