"""Opting out: who wants no texts any more, and what becomes of the work that waits for them.

An opt-out has a reach, as at the carrier: one of our numbers, all of the service that the number belongs to, or simply
all of them where the settings name a service. By text and over RCS it is one person and one number; WhatsApp is apart.

The order of the locks is: the opt-out, the conversations, their texts. Whoever opts a person out or in writes the
opt-out first, so that two who do it at once come one after the other, and then has all of the person's conversations
locked while their work is cancelled. Whoever queues or sends a text has its conversation locked when it looks here. So
one of the two always sees the other.

What lives here: rows, inside the transactions of others. The words: ``bridge.lib.keywords``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from bridge.config import Settings
from bridge.db.engine import insert_if_new
from bridge.db.models import OPEN_TURN, Chat, ChatStatus, Conversation, Message, MessageStatus, OptOut, Turn, TurnStatus
from bridge.db.transaction import Transaction
from bridge.lib.phone import RCS
from bridge.queues.conversation_queue import DELIVERIES, TURNS, resume, revoke

EVERY_NUMBER = "*"
"""The scope of who has opted out of a messaging service."""

UNSUBSCRIBED = (21610, 30630)
"""Twilio's codes for a text to somebody who has opted out, at once or in a later report."""

BY_TEXT = "by text"
BY_CARRIER = f"the carrier refuses with {UNSUBSCRIBED[0]}"

WHY = "the person has opted out"

NEVER_BEGUN = (MessageStatus.WAITING, MessageStatus.IN_TURN, MessageStatus.QUEUED)
"""Not ``SENDING``: the carrier has it, or may have, and that is still to be found out."""


@dataclass(frozen=True)
class Reach:
    """Who opts out or in, and of what."""

    person: str
    number: str
    """Of ours."""
    service: str | None
    """The messaging service that this number belongs to, as far as the carrier has told it."""
    everywhere: bool

    @property
    def scope(self) -> str:
        """Under which an opt-out is kept."""
        return EVERY_NUMBER if self.everywhere else self.number


def reach(settings: Settings, number: str, phone: str, service: str | None) -> Reach:
    """What a STOP of this phone to this number of ours covers."""
    everywhere = settings.twilio_messaging_service_sid is not None
    return Reach(_without_rcs(phone), _without_rcs(number), service, everywhere)


def is_out(conversation_id: int) -> ColumnElement[bool]:
    """Has the person of this conversation opted out of its number?"""
    return exists().where(*_of(conversation_id), OptOut.ended_at.is_(None))


def has_opted_out(tx: Transaction, conversation_id: int) -> bool:
    """The caller has the conversation locked."""
    return bool(tx.session.scalar(select(is_out(conversation_id))))


def forbid(tx: Transaction, text: Message) -> bool:
    """May this text not be handed over (again)? One from before an opt-out may not, also when the person is back."""
    if text.is_opt_out_confirmation:
        return False
    out = or_(OptOut.ended_at.is_(None), OptOut.since >= text.created_at)
    return bool(tx.session.scalar(select(exists().where(*_of(text.conversation_id), out))))


def record(tx: Transaction, reach: Reach, cause: str, at: datetime) -> bool:
    """Note an opt-out; False where it is known, or older than the person's opting in again."""
    opt_out = {"since": at, "cause": cause, "ended_at": None, "service": reach.service}
    new = (
        insert_if_new(tx.session, OptOut)
        .values(scope=reach.scope, phone=reach.person, **opt_out)
        .on_conflict_do_update(index_elements=["scope", "phone"], set_=opt_out, where=OptOut.ended_at <= at)
        .returning(OptOut.scope)
    )
    return tx.session.scalar(new) is not None


def opt_in(tx: Transaction, reach: Reach, at: datetime) -> bool:
    """The person opts in again; False where there is nothing to opt in to, or the opt-out is newer."""
    of_it = [OptOut.scope.in_([reach.number, EVERY_NUMBER]), *_of_service(OptOut.service, reach)]
    out = (OptOut.phone == reach.person, or_(*of_it), OptOut.ended_at.is_(None))
    ended = update(OptOut).where(*out, OptOut.since <= at).values(ended_at=at).returning(OptOut.scope)
    return bool(tx.session.scalars(ended).all())


def was_confirmed(tx: Transaction, reach: Reach, since: datetime) -> bool:
    """Have we confirmed an opt-out of this person since that moment? What still waits is cancelled by the next one."""
    said = (
        Message.conversation_id == Conversation.id,
        Message.is_opt_out_confirmation,
        Message.created_at > since,
        Message.status.in_((MessageStatus.SENDING, MessageStatus.SENT)),
    )
    return bool(tx.session.scalar(select(exists().where(*conversations(reach), *said))))


def cancel(tx: Transaction, reach: Reach) -> None:
    """Nothing that waits within the reach is said or sent any more. Returns the conversations; their lines are due.

    The claims on turns are revoked: what the agent answers at this moment counts no longer. The claims on texts stay,
    because what became of a text that is being handed over is to be known.
    """
    theirs = select(Conversation.id).where(*conversations(reach)).order_by(Conversation.id)
    ids = tx.session.scalars(theirs.with_for_update()).all()
    _cancel_turns(tx, ids)
    _cancel_texts(tx, ids)
    revoke(tx, TURNS, ids)
    resume(tx, DELIVERIES, ids)


def conversations(reach: Reach) -> list[ColumnElement[bool]]:
    """Those of one person within the reach."""
    theirs: list[ColumnElement[bool]] = [Conversation.phone.in_([reach.person, RCS + reach.person])]
    if reach.everywhere:
        return theirs
    same_number = Conversation.bridge_number.in_([reach.number, RCS + reach.number])
    return [*theirs, or_(same_number, *_of_service(Conversation.service, reach))]


def _of_service(column: InstrumentedAttribute[str | None], reach: Reach) -> list[ColumnElement[bool]]:
    return [column == reach.service] if reach.service else []  # no two numbers share the service that there is not


def _of(conversation_id: int) -> list[ColumnElement[bool]]:
    its_numbers = OptOut.scope.in_([func.replace(Conversation.bridge_number, RCS, ""), EVERY_NUMBER])
    return [
        Conversation.id == conversation_id,
        OptOut.phone == func.replace(Conversation.phone, RCS, ""),
        or_(its_numbers, OptOut.service == Conversation.service),
    ]


def _without_rcs(address: str) -> str:
    """Over RCS it is the same person, and the same number, as by text: opting out of one is opting out of both."""
    return address.removeprefix(RCS)


def _cancel_turns(tx: Transaction, ids: Sequence[int]) -> None:
    """What a chat may have heard must not be taken for part of what comes after: it is retired."""
    heard = select(Turn.chat_id).where(Turn.conversation_id.in_(ids), Turn.status == TurnStatus.ASKING)
    tx.session.execute(
        update(Chat)
        .where(Chat.id.in_(heard), Chat.status == ChatStatus.ONGOING)
        .values(status=ChatStatus.ENDING, end_reason=WHY, due_at=tx.now),
    )
    tx.session.execute(
        update(Turn)
        .where(Turn.conversation_id.in_(ids), Turn.status.in_(OPEN_TURN))
        .values(status=TurnStatus.CANCELED, settled_at=tx.now, items_at_last_check=None, error=WHY),
    )


def _cancel_texts(tx: Transaction, ids: Sequence[int]) -> None:
    tx.session.execute(
        update(Message)
        .where(Message.conversation_id.in_(ids), Message.status.in_(NEVER_BEGUN))
        .values(status=MessageStatus.CANCELED, settled_at=tx.now, error=WHY),
    )
