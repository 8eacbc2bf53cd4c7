"""Texts from people: the one door through which they come in, whoever brings them.

What lives here: storing a text once, and the answer to what can't be read. What becomes of it: ``bridge.turns``.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from bridge import outbox
from bridge.carriers import InboundText
from bridge.carriers.readable import readable
from bridge.db import insert_if_new
from bridge.line import DELIVERIES, TURNS, Line, enqueue
from bridge.models import Conversation, Direction, Message, MessageStatus
from bridge.runtime import Runtime


class _Known(Exception):
    """The carrier has told us this text before; everything done for it is rolled back."""


def store(rt: Runtime, text: InboundText) -> bool:
    """Store a text and ring for it; False when it was stored before, and then nothing changes.

    The carrier's message id decides. The conversation's row is written first: its lock puts the texts of one person
    in order, also when several webhooks bring them at once.
    """
    line = TURNS if not text.media and readable(text.body) else DELIVERIES
    try:
        with rt.sessions.begin() as session:
            conversation_id = _conversation(session, text, line, rt.now())
            _insert(session, text, conversation_id, line, rt.now())
            if line is DELIVERIES:
                _say_that_it_cannot_be_read(rt, session, conversation_id)
    except _Known:
        return False
    rt.bell.ring(line.step, conversation_id)
    return True


def _conversation(session: Session, text: InboundText, line: Line, now: datetime) -> int:
    """The conversation of this pair of numbers, made when needed, with its line due."""
    pair = {"bridge_number": text.bridge_number, "phone": text.phone}
    touch = update(Conversation).filter_by(**pair).values(enqueue(line, now)).returning(Conversation.id)
    known = session.scalar(touch)
    if known is None:
        session.execute(insert_if_new(session, Conversation).values(**pair, created_at=now).on_conflict_do_nothing())
        known = session.scalars(touch).one()
    return known


def _insert(session: Session, text: InboundText, conversation_id: int, line: Line, now: datetime) -> None:
    row = (
        insert_if_new(session, Message)
        .values(
            conversation_id=conversation_id,
            direction=Direction.IN,
            status=MessageStatus.WAITING if line is TURNS else MessageStatus.REFUSED,
            body=text.body,
            media=text.media,
            carrier_id=text.carrier_id,
            created_at=min(text.sent_at or now, now),
        )
        .on_conflict_do_nothing(index_elements=[Message.carrier_id])
        .returning(Message.id)
    )
    if session.scalar(row) is None:
        raise _Known


def _say_that_it_cannot_be_read(rt: Runtime, session: Session, conversation_id: int) -> None:
    send_by = rt.now() + rt.settings.answer_within
    outbox.put(session, conversation_id, [rt.settings.media_reply], now=rt.now(), send_by=send_by)
