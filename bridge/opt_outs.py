"""Opting out: who wants no texts any more, and what becomes of the work that waits for them.

An opt-out has a scope, as at the carrier: one of our numbers, or all of them where a messaging service sends.

The order of the locks is: the opt-out, the conversations, their texts. Whoever opts a person out or in writes the
opt-out first, so that two who do it at once come one after the other, and then has all of the person's conversations
locked while their work is cancelled. Whoever queues or sends a text has its conversation locked when it looks here. So
one of the two always sees the other.

What lives here: rows, inside the transactions of others. The words: ``bridge.keywords``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session

from bridge.config import Settings
from bridge.db import insert_if_new
from bridge.line import DELIVERIES, TURNS, revoke, wake
from bridge.models import OPEN_TURN, Chat, ChatStatus, Conversation, Message, MessageStatus, OptOut, Turn, TurnStatus
from bridge.phone import RCS

EVERY_NUMBER = "*"
"""The scope of who has opted out of a messaging service."""

UNSUBSCRIBED = (21610, 30630)
"""Twilio's codes for a text to somebody who has opted out, at once or in a later report."""

BY_TEXT = "by text"
BY_CARRIER = f"the carrier refuses with {UNSUBSCRIBED[0]}"

WHY = "the person has opted out"

NEVER_BEGUN = (MessageStatus.WAITING, MessageStatus.TAKEN, MessageStatus.QUEUED)
"""Not ``SENDING``: the carrier has it, or may have, and that is still to be found out."""


def scope(settings: Settings, number: str) -> str:
    """What a STOP to this number of ours covers: that number, or all of them where a messaging service sends."""
    return EVERY_NUMBER if settings.twilio_messaging_service_sid else number


def is_out(conversation_id: int) -> ColumnElement[bool]:
    """Has the person of this conversation opted out of its number?"""
    return exists().where(*_of(conversation_id), OptOut.ended_at.is_(None))


def has_opted_out(session: Session, conversation_id: int) -> bool:
    """The caller has the conversation locked."""
    return bool(session.scalar(select(is_out(conversation_id))))


def forbid(session: Session, text: Message) -> bool:
    """May this text not be handed over (again)? One from before an opt-out may not, also when the person is back."""
    if text.despite_opt_out:
        return False
    out = or_(OptOut.ended_at.is_(None), OptOut.since >= text.created_at)
    return bool(session.scalar(select(exists().where(*_of(text.conversation_id), out))))


def record(session: Session, scope: str, phone: str, cause: str, at: datetime) -> bool:
    """Note an opt-out; False where it is known, or older than the person's opting in again."""
    opt_out = {"since": at, "cause": cause, "ended_at": None}
    new = (
        insert_if_new(session, OptOut)
        .values(scope=scope, phone=_person(phone), **opt_out)
        .on_conflict_do_update(index_elements=["scope", "phone"], set_=opt_out, where=OptOut.ended_at <= at)
        .returning(OptOut.scope)
    )
    return session.scalar(new) is not None


def end(session: Session, number: str, phone: str, at: datetime) -> bool:
    """The person opts in again; False where there is nothing to opt in to, or the opt-out is newer."""
    out = (OptOut.scope.in_([number, EVERY_NUMBER]), OptOut.phone == _person(phone), OptOut.ended_at.is_(None))
    ended = update(OptOut).where(*out, OptOut.since <= at).values(ended_at=at).returning(OptOut.scope)
    return bool(session.scalars(ended).all())


def was_confirmed(session: Session, number: str, phone: str, since: datetime) -> bool:
    """Have we confirmed an opt-out of this person since that moment? What still waits is cancelled by the next one."""
    said = (
        Message.conversation_id == Conversation.id,
        Message.despite_opt_out,
        Message.created_at > since,
        Message.status.in_((MessageStatus.SENDING, MessageStatus.SENT)),
    )
    return bool(session.scalar(select(exists().where(*conversations(number, phone), *said))))


def cancel(session: Session, scope: str, phone: str, now: datetime) -> Sequence[int]:
    """Nothing that waits in the scope is said or sent any more. Returns the conversations; their lines are due.

    The claims on turns are revoked: what the agent answers at this moment counts no longer. The claims on texts stay,
    because what became of a text that is being handed over is to be known.
    """
    theirs = select(Conversation.id).where(*conversations(scope, phone)).order_by(Conversation.id)
    ids = session.scalars(theirs.with_for_update()).all()
    _cancel_turns(session, ids, now)
    _cancel_texts(session, ids, now)
    for line, sets in ((TURNS, revoke(TURNS, now)), (DELIVERIES, wake(DELIVERIES, now))):
        busy = (Conversation.id.in_(ids), line.due_at.is_not(None))
        session.execute(update(Conversation).where(*busy).values(sets))
    return ids


def conversations(scope: str, phone: str) -> list[ColumnElement[bool]]:
    """Those of one person within a scope."""
    theirs: list[ColumnElement[bool]] = [Conversation.phone.in_([_person(phone), RCS + _person(phone)])]
    return theirs if scope == EVERY_NUMBER else [*theirs, Conversation.bridge_number == scope]


def _of(conversation_id: int) -> list[ColumnElement[bool]]:
    return [
        Conversation.id == conversation_id,
        OptOut.phone == func.replace(Conversation.phone, RCS, ""),
        OptOut.scope.in_([Conversation.bridge_number, EVERY_NUMBER]),
    ]


def _person(phone: str) -> str:
    """Over RCS it is the same person as by text: opting out of one is opting out of the other."""
    return phone.removeprefix(RCS)


def _cancel_turns(session: Session, ids: Sequence[int], now: datetime) -> None:
    """What a chat may have heard must not be taken for part of what comes after: it is retired."""
    heard = select(Turn.chat_id).where(Turn.conversation_id.in_(ids), Turn.status == TurnStatus.ASKING)
    session.execute(
        update(Chat)
        .where(Chat.id.in_(heard), Chat.status == ChatStatus.ONGOING)
        .values(status=ChatStatus.ENDING, end_reason=WHY, due_at=now),
    )
    session.execute(
        update(Turn)
        .where(Turn.conversation_id.in_(ids), Turn.status.in_(OPEN_TURN))
        .values(status=TurnStatus.CANCELED, settled_at=now, looked_items=None, error=WHY),
    )


def _cancel_texts(session: Session, ids: Sequence[int], now: datetime) -> None:
    session.execute(
        update(Message)
        .where(Message.conversation_id.in_(ids), Message.status.in_(NEVER_BEGUN))
        .values(status=MessageStatus.CANCELED, settled_at=now, error=WHY),
    )
