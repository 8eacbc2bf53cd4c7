"""Texts to people: what is to be sent, and what the carrier says became of it.

What lives here: putting texts into a conversation's line, and the carrier's reports. Sending them: ``bridge.delivery``.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bridge.carriers import RANK, Delivery, StatusReport
from bridge.line import DELIVERIES, enqueue, wake
from bridge.models import UNSENT, Conversation, Direction, Message, MessageStatus
from bridge.runtime import Runtime
from bridge.segments import split

log = logging.getLogger(__name__)

NOT_DELIVERED = (Delivery.UNDELIVERED, Delivery.FAILED)

UNSETTLED = (*UNSENT, MessageStatus.GIVEN_UP)
"""A text in one of these states may yet turn out to have been sent."""


def put(
    session: Session,
    conversation_id: int,
    texts: Iterable[str],
    *,
    now: datetime,
    send_by: datetime,
    turn_id: int | None = None,
) -> int:
    """Put texts at the end of the line, in order; blank ones fall away, long ones are split. Returns how many."""
    parts = [part for text in texts for part in split(text)]
    if not parts:
        return 0
    for part in parts:
        session.add(_message(conversation_id, part, now, send_by, turn_id))
        session.flush()  # one after the other: the order of the ids is the order of the texts
    session.execute(update(Conversation).where(Conversation.id == conversation_id).values(enqueue(DELIVERIES, now)))
    return len(parts)


def report(rt: Runtime, said: StatusReport) -> bool:
    """Note what the carrier says of a text; False when it says nothing new. Late and repeated reports do no harm.

    A report that carries our reference also settles a text whose sending had no known outcome.
    """
    with rt.sessions.begin() as session:
        message = _find(session, said)
        if message is None or not _is_news(message, said):
            return False
        message.delivery, message.error_code = said.status, said.error_code or message.error_code
        settles = message.status in UNSETTLED
        if settles:
            _settle(session, message, said.carrier_id, rt.now())
        conversation_id = message.conversation_id
    if said.status in NOT_DELIVERED:
        log.error("message %s was not delivered: %s, error %s", message.id, said.status, said.error_code)
    if settles:
        rt.bell.ring(DELIVERIES.step, conversation_id)
    return True


def _message(conversation_id: int, body: str, now: datetime, send_by: datetime, turn_id: int | None) -> Message:
    return Message(
        conversation_id=conversation_id,
        turn_id=turn_id,
        direction=Direction.OUT,
        status=MessageStatus.QUEUED,
        body=body,
        created_at=now,
        send_by=send_by,
        reference=secrets.token_hex(16),
    )


def _find(session: Session, said: StatusReport) -> Message | None:
    """Our row, locked. A reference that belongs to another phone is somebody else's: nothing may cross."""
    name = Message.reference == said.reference if said.reference else Message.carrier_id == said.carrier_id
    ours = select(Message).join(Conversation).where(name, Conversation.phone == said.recipient)
    message = session.scalar(ours)
    if message is None:
        return None
    if message.status in UNSETTLED:  # its line may have to move: the conversation is always locked before its texts
        session.get_one(Conversation, message.conversation_id, with_for_update=True)
    session.refresh(message, with_for_update=True)
    return message


def _is_news(message: Message, said: StatusReport) -> bool:
    if message.carrier_id not in (None, said.carrier_id):
        log.error("message %s stands twice at the carrier: %s, %s", message.id, message.carrier_id, said.carrier_id)
        return False
    return message.delivery is None or RANK[said.status] > RANK[message.delivery]


def _settle(session: Session, message: Message, carrier_id: str, now: datetime) -> None:
    message.status, message.carrier_id, message.settled_at = MessageStatus.SENT, carrier_id, now
    message.error = None
    session.execute(
        update(Conversation).where(Conversation.id == message.conversation_id).values(wake(DELIVERIES, now))
    )
