"""Forgetting one person: all rows about them are deleted in one transaction, or none.

Nothing of the person may be in work: a text that is being sent, or a turn that is being asked, has an outcome that only
its row can record. Then :class:`InWork` says what it is. What only waits is deleted with the rest. A text of the last
minutes counts as work too: the carrier may bring it again by the webhook, or a check of the carrier's list may take it
for a later one with the same words. So does a text that the search for texts of other tools has not passed yet
(``bridge.maintenance.outside_texts``). Without the person's rows it would take the carrier's own answer to a STOP for
another tool's text, and the person would be back.

What the providers have is put on a list in the same commit: ``bridge.operators.erasures``. So a process that dies
afterwards forgets nothing half. The audit keeps the deed, with the masked number.

A person who has opted out stays out. Their number remains in ``opt_outs``, and in ``consents``, the proof of each
opt-out and opt-in. An opt-out that covers a messaging service is written for each number of the person's conversations,
because the rows that know the service go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from bridge.db.engine import insert_if_new
from bridge.db.models import (
    Base,
    Chat,
    Consent,
    ContactUpdate,
    Conversation,
    DraftRequest,
    Message,
    MessageStatus,
    OptOut,
    SentCursor,
    TaskError,
    Turn,
    TurnStatus,
)
from bridge.db.transaction import Transaction
from bridge.lib.errors import BridgeError
from bridge.lib.phone import RCS, masked
from bridge.operators import audit, erasures, forgotten
from bridge.operators.audit import Action, Entry
from bridge.operators.people import OF_CONVERSATIONS, Person, conversation_ids
from bridge.providers.carriers.spellings import spellings
from bridge.runtime import Runtime

RECENTLY = timedelta(minutes=10)
"""Longer than the difference of clocks that a check of the carrier's list allows for, and mostly as long as the search
for texts of other tools takes to pass a text."""

READ_AGAIN = timedelta(minutes=7)
"""How long before its cursor a text may be that this search still needs: its rounds overlap, and the carrier's answer
comes after the keyword."""

RECENT = "a text came or went in the last minutes"
UNREAD = "the carrier's list is not read yet as far as the person's last text"


class InWork(BridgeError):
    """Something of the person is in work. The words are for the operator."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; nothing is deleted, try again in some minutes")


@dataclass(frozen=True)
class Found:
    """What there is about a person."""

    conversations: Sequence[int]
    rows: dict[str, int]
    """By table."""
    chats: dict[str, int]
    """By provider."""
    texts: int
    """At the carrier."""
    opted_out: bool
    consents: int
    """Rows of the consent record. They stay, with the number."""

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to delete."""
        return not self.conversations and not any(self.rows.values())


@dataclass(frozen=True)
class Forgotten:
    """What was deleted here, and the rows of what is still to be erased at the providers."""

    rows: dict[str, int] = field(default_factory=dict)
    erasures: Sequence[int] = ()


def find(rt: Runtime, person: Person) -> Found:
    """Return what there is about the person, without a change."""
    with rt.database.read() as session:
        ids = conversation_ids(session, person)
        by_provider = select(Chat.provider, func.count()).where(Chat.conversation_id.in_(ids)).group_by(Chat.provider)
        return Found(
            conversations=ids,
            rows=_counts(session, person, ids),
            chats=dict(session.execute(by_provider).all()),
            texts=sum(1 for _ in _carried(session, ids, rt.carrier.provider)),
            opted_out=bool(session.scalar(select(exists().where(person.named_in("opt_outs"), _stands())))),
            consents=_count(session, Consent, person.named_in("consents")),
        )


def forget(rt: Runtime, operator: str, person: Person, *, at_carrier: bool) -> Forgotten:
    """Delete everything about the person here, and list what the providers have. Raise :class:`InWork`.

    ``at_carrier``: the texts at the carrier are to be deleted too.
    """
    with rt.database.transaction() as tx:
        ids = conversation_ids(tx.session, person)
        _keep_opt_outs(tx, ids)  # opt-outs are locked before conversations
        locked = select(Conversation.id).where(person.conversations()).order_by(Conversation.id).with_for_update()
        if list(tx.session.scalars(locked)) != ids:
            raise InWork(RECENT)
        _must_rest(rt, tx, person, ids)
        texts = list(_carried(tx.session, ids, rt.carrier.provider))
        forgotten.remember(tx, [text.remote_id for text in texts])
        remains = [*_chats(tx.session, ids), *(texts if at_carrier else ())]
        rows = _delete(tx, person, ids)
        left = erasures.put(tx, remains)
        details = {"rows": rows, "erasures": len(left), "at_carrier": at_carrier}
        audit.write(tx, Entry(operator, Action.FORGET, f"person {masked(person.number)}", details=details))
        return Forgotten(rows, left)


# -- what is in work -----------------------------------------------------------------------------------------------


def _must_rest(rt: Runtime, tx: Transaction, person: Person, ids: Sequence[int]) -> None:
    """Raise :class:`InWork` if a worker has something of the person, or may have. The conversations are locked."""
    for what, condition in (*_in_work(tx, person, ids), *_unread(rt, tx, ids)):
        if tx.session.scalar(select(exists().where(condition))):
            raise InWork(what)


def _in_work(tx: Transaction, person: Person, ids: Sequence[int]) -> Iterator[tuple[str, ColumnElement[bool]]]:
    leased = or_(Conversation.turn_leased_by.is_not(None), Conversation.delivery_leased_by.is_not(None))
    yield "a worker has one of the conversations", and_(Conversation.id.in_(ids), leased)
    asked = or_(Turn.status == TurnStatus.ASKING, and_(Turn.settled_at.is_(None), Turn.chat_requested_at.is_not(None)))
    yield "the agent is being asked", and_(Turn.conversation_id.in_(ids), asked)
    yield "a text is being sent", and_(Message.conversation_id.in_(ids), Message.status == MessageStatus.SENDING)
    lately = tx.now - RECENTLY
    yield RECENT, and_(Message.conversation_id.in_(ids), _since(lately))
    yield "a contact is being written", and_(person.named_in("contact_updates"), ContactUpdate.leased)
    drafted = and_(DraftRequest.begun_at > lately, DraftRequest.settled_at.is_(None))
    yield "a draft is being written", and_(DraftRequest.conversation_id.in_(ids), drafted)


def _unread(rt: Runtime, tx: Transaction, ids: Sequence[int]) -> Iterator[tuple[str, ColumnElement[bool]]]:
    """Yield a condition for each number whose list is read. Each spelling of a number has its own list."""
    if rt.settings.auto_hold is None:
        return
    for number in rt.settings.twilio_numbers:
        names = spellings(number)
        cursors = select(func.min(SentCursor.read_until)).where(SentCursor.bridge_number.in_(names))
        if read_until := tx.session.scalar(cursors):
            theirs = select(Conversation.id).where(Conversation.id.in_(ids), Conversation.bridge_number.in_(names))
            yield UNREAD, and_(Message.conversation_id.in_(theirs), _since(read_until - READ_AGAIN))


def _since(moment: datetime) -> ColumnElement[bool]:
    """Return the condition that a text came or went since then."""
    return or_(Message.created_at > moment, Message.attempted_at > moment)


# -- what the providers have ---------------------------------------------------------------------------------------


def _chats(session: Session, ids: Sequence[int]) -> Iterator[erasures.New]:
    theirs = select(Chat.provider, Chat.provider_chat_id).where(Chat.conversation_id.in_(ids)).order_by(Chat.id)
    return (erasures.New(provider, erasures.CHAT, chat_id) for provider, chat_id in session.execute(theirs))


def _carried(session: Session, ids: Sequence[int], provider: str) -> Iterator[erasures.New]:
    columns = (Message.carrier_id, Message.duplicate_carrier_id, Message.media)
    theirs = select(*columns).where(Message.conversation_id.in_(ids)).order_by(Message.id)
    for first, second, media in session.execute(theirs):
        for carrier_id in filter(None, (first, second)):
            yield erasures.New(provider, erasures.TEXT, carrier_id, with_media=media > 0)


# -- what is here --------------------------------------------------------------------------------------------------


def _counts(session: Session, person: Person, ids: Sequence[int]) -> dict[str, int]:
    here = {table.name: _count(session, table, table.c.conversation_id.in_(ids)) for table in OF_CONVERSATIONS}
    here["contact_updates"] = _count(session, ContactUpdate, person.named_in("contact_updates"))
    here["ended opt_outs"] = _count(session, OptOut, and_(person.named_in("opt_outs"), ~_stands()))
    return {**here, "conversations": len(ids)}


def _count(session: Session, table: type[Base] | Table, which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(table).where(which)) or 0


def _delete(tx: Transaction, person: Person, ids: Sequence[int]) -> dict[str, int]:
    """Delete all rows, those first that refer to others. Return how many, by table."""
    counts = _counts(tx.session, person, ids)
    tx.session.execute(delete(OptOut).where(person.named_in("opt_outs"), ~_stands()))
    tx.session.execute(delete(ContactUpdate).where(person.named_in("contact_updates")))
    for table in reversed(OF_CONVERSATIONS):
        tx.session.execute(delete(table).where(table.c.conversation_id.in_(ids)))
    tx.session.execute(delete(TaskError).where(TaskError.conversation_id.in_(ids)))
    tx.session.execute(delete(Conversation).where(Conversation.id.in_(ids)))
    return counts


def _stands() -> ColumnElement[bool]:
    return OptOut.ended_at.is_(None)


def _keep_opt_outs(tx: Transaction, ids: Sequence[int]) -> None:
    """Write the opt-outs that cover these conversations by their service once more, for the number of each.

    The service stays in them, so that a START ends all of them together.
    """
    by_service = and_(
        OptOut.phone == func.replace(Conversation.phone, RCS, ""),
        OptOut.service == Conversation.service,
        _stands(),
    )
    number = func.replace(Conversation.bridge_number, RCS, "").label("number")
    columns = (OptOut.phone, number, OptOut.service, OptOut.since, OptOut.cause)
    theirs = select(*columns).join_from(Conversation, OptOut, by_service).where(Conversation.id.in_(ids))
    for phone, scope, service, since, cause in tx.session.execute(theirs.order_by(OptOut.phone, number)).all():
        covers = {"service": service, "since": since, "cause": cause, "ended_at": None}
        kept = insert_if_new(tx.session, OptOut).values(phone=phone, scope=scope, **covers)
        kept = kept.on_conflict_do_update(
            index_elements=["phone", "scope"], set_=covers, where=OptOut.ended_at.is_not(None)
        )
        tx.session.execute(kept)
