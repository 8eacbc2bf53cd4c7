"""Opt-outs: persons who want no more texts. An opt-out cancels the work that waits for them.

An opt-out has a reach, as at the carrier. It covers one of our numbers, or all numbers of its messaging service, or all
our numbers if the settings name a service. SMS and RCS count as one person and one number; WhatsApp is apart.

The order of the locks is: the opt-out, the conversations, their texts. A transaction that opts a person out or in
writes the opt-out first. So two of them run one after the other. It then locks all of the person's conversations and
cancels their work. A transaction that queues or sends a text has the conversation locked when it checks for an opt-out.
So one of the two always sees the other.

These functions run inside the transactions of their callers. The keywords: ``bridge.lib.keywords``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from bridge.config import Settings
from bridge.db.engine import insert_if_new
from bridge.db.models import (
    UNSETTLED_TURN,
    Chat,
    ChatStatus,
    Conversation,
    Message,
    MessageStatus,
    OptOut,
    Turn,
    TurnStatus,
)
from bridge.db.transaction import Transaction
from bridge.lib.phone import RCS
from bridge.outbound import consents
from bridge.outbound.consents import Evidence
from bridge.queues.conversation_queue import DELIVERIES, TURNS, resume, revoke

EVERY_NUMBER = "*"
"""The scope of an opt-out from all our numbers."""

UNSUBSCRIBED = (21610, 30630)
"""Twilio's codes for a text to a person who has opted out, in the response or in a later report."""

BY_TEXT = "by text"
BY_CARRIER = f"the carrier refuses with {UNSUBSCRIBED[0]}"

WHY = "the person has opted out"

NEVER_BEGUN = (MessageStatus.WAITING, MessageStatus.IN_TURN, MessageStatus.QUEUED)
"""The states of work that has not begun. Not ``SENDING``: the carrier may have accepted such a text."""

OUT_OF_THEM = """EXISTS (
        SELECT 1 FROM opt_outs o WHERE o.phone = replace(c.phone, 'rcs:', '') AND {stands}
        AND (o.scope IN (replace(c.bridge_number, 'rcs:', ''), '*') OR o.service = {service}))"""
"""The condition of :func:`is_out` in SQL, for the conversation ``c``. ``stands``: which opt-outs count."""


@dataclass(frozen=True)
class Reach:
    """The person who opts out or in, and the numbers that this covers."""

    person: str
    number: str
    """Our number, to which the person wrote."""
    service: str | None
    """The messaging service of this number, if the carrier has named it."""
    everywhere: bool

    @property
    def scope(self) -> str:
        """The scope in the opt-out's row."""
        return EVERY_NUMBER if self.everywhere else self.number


def reach(settings: Settings, number: str, phone: str, service: str | None) -> Reach:
    """Return the reach of a STOP from this phone to this number of ours."""
    everywhere = settings.twilio_messaging_service_sid is not None
    return Reach(_without_rcs(phone), _without_rcs(number), service, everywhere)


def is_out(conversation_id: int) -> ColumnElement[bool]:
    """Return the condition that the person of this conversation has opted out of its number."""
    return exists().where(*_of(conversation_id), OptOut.ended_at.is_(None))


def has_opted_out(tx: Transaction, conversation_id: int) -> bool:
    """Return whether the person has opted out. The caller has the conversation locked."""
    return bool(tx.session.scalar(select(is_out(conversation_id))))


def forbid(tx: Transaction, text: Message) -> bool:
    """Return True if this text must not be sent, or not again.

    A text from before an opt-out stays forbidden after the person opts in again.
    """
    if text.is_opt_out_confirmation:
        return False
    out = or_(OptOut.ended_at.is_(None), OptOut.since >= text.created_at)
    return bool(tx.session.scalar(select(exists().where(*_of(text.conversation_id), out))))


def record(tx: Transaction, reach: Reach, evidence: Evidence) -> bool:
    """Record an opt-out. Return False if it is known, or older than a later opt-in."""
    at = evidence.at
    opt_out = {"since": at, "cause": evidence.cause, "ended_at": None, "service": reach.service}
    new = (
        insert_if_new(tx.session, OptOut)
        .values(scope=reach.scope, phone=reach.person, **opt_out)
        .on_conflict_do_update(index_elements=["scope", "phone"], set_=opt_out, where=OptOut.ended_at <= at)
        .returning(OptOut.scope)
    )
    changed = tx.session.scalar(new) is not None
    if changed:
        consents.write(tx, evidence, wants_texts=False, **_covered(reach))
    return changed


def opt_in(tx: Transaction, reach: Reach, evidence: Evidence) -> bool:
    """End the person's opt-outs within the reach. Return False if there are none, or only newer ones."""
    of_it = [OptOut.scope.in_([reach.number, EVERY_NUMBER]), *_of_service(OptOut.service, reach)]
    out = (OptOut.phone == reach.person, or_(*of_it), OptOut.ended_at.is_(None))
    at = evidence.at
    ended = update(OptOut).where(*out, OptOut.since <= at).values(ended_at=at).returning(OptOut.scope)
    changed = bool(tx.session.scalars(ended).all())
    if changed:
        consents.write(tx, evidence, wants_texts=True, **_covered(reach))
    return changed


def _covered(reach: Reach) -> dict[str, str | None]:
    return {"phone": reach.person, "bridge_number": reach.number, "scope": reach.scope, "service": reach.service}


def stands(tx: Transaction, reach: Reach) -> bool:
    """Return whether this opt-out is recorded and has not ended, whatever its cause."""
    its = (OptOut.phone == reach.person, OptOut.scope == reach.scope, OptOut.ended_at.is_(None))
    return bool(tx.session.scalar(select(exists().where(*its))))


def was_confirmed(tx: Transaction, reach: Reach, since: datetime) -> bool:
    """Return whether an opt-out of this person was confirmed since then.

    A confirmation that still waits does not count, because the next opt-out cancels it.
    """
    confirmed = (
        Message.conversation_id == Conversation.id,
        Message.is_opt_out_confirmation,
        Message.created_at > since,
        Message.status.in_((MessageStatus.SENDING, MessageStatus.SENT)),
    )
    return bool(tx.session.scalar(select(exists().where(*conversations(reach), *confirmed))))


def cancel(tx: Transaction, reach: Reach) -> None:
    """Cancel everything that waits within the reach, for the agent or for the phone. Make the queues of deliveries due.

    The leases on turns are revoked: an answer that the agent is just giving no longer counts. The leases on deliveries
    stay, because the outcome of a text that is being sent must be recorded.
    """
    theirs = select(Conversation.id).where(*conversations(reach)).order_by(Conversation.id)
    ids = tx.session.scalars(theirs.with_for_update()).all()
    _cancel_turns(tx, ids)
    _cancel_texts(tx, ids)
    revoke(tx, TURNS, ids)
    resume(tx, DELIVERIES, ids)


def conversations(reach: Reach) -> list[ColumnElement[bool]]:
    """Return the conditions for the person's conversations within the reach."""
    theirs: list[ColumnElement[bool]] = [Conversation.phone.in_([reach.person, RCS + reach.person])]
    if reach.everywhere:
        return theirs
    same_number = Conversation.bridge_number.in_([reach.number, RCS + reach.number])
    return [*theirs, or_(same_number, *_of_service(Conversation.service, reach))]


def _of_service(column: InstrumentedAttribute[str | None], reach: Reach) -> list[ColumnElement[bool]]:
    return [column == reach.service] if reach.service else []  # numbers without a service do not share one


def are_out() -> ColumnElement[bool]:
    """Return the condition that the person of a conversation that is selected has opted out of its number."""
    return exists().where(*_theirs(), OptOut.ended_at.is_(None)).correlate(Conversation)


def _of(conversation_id: int) -> list[ColumnElement[bool]]:
    return [Conversation.id == conversation_id, *_theirs()]


def _theirs() -> list[ColumnElement[bool]]:
    its_numbers = OptOut.scope.in_([func.replace(Conversation.bridge_number, RCS, ""), EVERY_NUMBER])
    return [
        OptOut.phone == func.replace(Conversation.phone, RCS, ""),
        or_(its_numbers, OptOut.service == Conversation.service),
    ]


def _without_rcs(address: str) -> str:
    """Return the SMS address of an RCS address: an opt-out from one channel covers both."""
    return address.removeprefix(RCS)


def _cancel_turns(tx: Transaction, ids: Sequence[int]) -> None:
    """Cancel the open turns. Retire the chats that may have received one.

    A late answer in such a chat must not count as the answer to a later turn.
    """
    asked_in = select(Turn.chat_id).where(Turn.conversation_id.in_(ids), Turn.status == TurnStatus.ASKING)
    tx.session.execute(
        update(Chat)
        .where(Chat.id.in_(asked_in), Chat.status == ChatStatus.ONGOING)
        .values(status=ChatStatus.ENDING, end_reason=WHY, due_at=tx.now),
    )
    tx.session.execute(
        update(Turn)
        .where(Turn.conversation_id.in_(ids), Turn.status.in_(UNSETTLED_TURN))
        .values(status=TurnStatus.CANCELED, settled_at=tx.now, items_at_last_check=None, error=WHY),
    )


def _cancel_texts(tx: Transaction, ids: Sequence[int]) -> None:
    tx.session.execute(
        update(Message)
        .where(Message.conversation_id.in_(ids), Message.status.in_(NEVER_BEGUN))
        .values(status=MessageStatus.CANCELED, settled_at=tx.now, error=WHY),
    )
