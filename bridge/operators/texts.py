"""Texts by a person: an operator writes to somebody through the conversation's outbox.

The text goes out as it is written, without Markdown or typography being changed. It is split only where one message
can't carry it. It waits behind the texts that are queued already, and is sent once, as an answer of the agent is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import select

from bridge.config import Settings
from bridge.db.engine import insert_if_new
from bridge.db.models import Conversation
from bridge.db.sealing import CANT
from bridge.db.transaction import Transaction
from bridge.inbound import limits
from bridge.inbound.readable import readable
from bridge.lib.errors import BridgeError
from bridge.lib.phone import without_channel
from bridge.operators import audit, conversations, idempotency
from bridge.operators.audit import Action, Entry
from bridge.operators.conversations import UnknownConversation
from bridge.operators.idempotency import Asked
from bridge.outbound import opt_outs, outbox
from bridge.outbound.formatting.shape import MOST, Shaped, shape
from bridge.outbound.outbox import Draft
from bridge.queues.conversation_queue import DELIVERIES, enqueue
from bridge.runtime import Runtime

OTHER_CHANNEL = "is on another channel than `to`"
NOT_OURS = "is not one of TWILIO_NUMBERS or AGENT_ROUTES"
EMPTY = "has no words"
NOT_DECRYPTED = "says that a text can't be decrypted; write the text itself"
TOO_LONG = f"is too long for {MOST} messages"


class Unfit(BridgeError):
    """A field of the request can't be used. The words are for the operator."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field} {fault}")
        self.field = field
        self.fault = fault


class OptedOut(BridgeError):
    """The person wants no texts."""


@dataclass(frozen=True)
class Pair:
    """A person, and the number of ours that writes to them."""

    phone: str
    bridge_number: str


@dataclass(frozen=True)
class Queued:
    """A text in the outbox; of several parts the first one."""

    id: int
    conversation_id: int


@dataclass(frozen=True)
class Counted:
    """What a text costs, or why it can't be sent."""

    characters: int
    messages: int
    segments: int
    fault: str = ""


def write(rt: Runtime, asked: Asked, pair: Pair, body: str) -> Queued:
    """Write to a new or known person. Raise :class:`Unfit`, :class:`OptedOut`, ``HeldBy`` or ``KeyReused``."""
    check(rt.settings, pair)
    whole = shaped(rt, pair.phone, body)
    with rt.database.transaction() as tx:
        return once(tx, asked, lambda: put(rt, tx, asked, opened(tx, pair), whole))


def write_in(rt: Runtime, asked: Asked, conversation_id: int, body: str, *, as_holder: bool = False) -> Queued:
    """Write in this conversation. Raise the same errors, or ``UnknownConversation``.

    ``as_holder``: only if this operator has it. Else it may be the agent's too.
    """
    with rt.database.read() as session:
        phone = session.scalar(select(Conversation.phone).where(Conversation.id == conversation_id))
    if phone is None:
        raise UnknownConversation
    whole = shaped(rt, phone, body)

    def put_here(tx: Transaction) -> Queued:
        if as_holder:
            conversations.must_have(conversations.lock(tx, conversation_id), asked.operator)
        return put(rt, tx, asked, conversation_id, whole)

    with rt.database.transaction() as tx:
        return once(tx, asked, lambda: put_here(tx))


def count(rt: Runtime, conversation_id: int, body: str) -> Counted:
    """Count what this text would cost in this conversation."""
    with rt.database.read() as session:
        phone = session.scalar(select(Conversation.phone).where(Conversation.id == conversation_id))
    if phone is None:
        raise UnknownConversation
    try:
        messages = shaped(rt, phone, body).messages
    except Unfit as error:
        return Counted(len(body), 0, 0, error.fault)
    return Counted(len(body), len(messages), sum(sms.segments for sms in messages))


def check(settings: Settings, pair: Pair) -> None:
    """Raise :class:`Unfit` if this number can't write to this person."""
    if settings.twilio_numbers and without_channel(pair.bridge_number) not in settings.our_bare_numbers:
        raise Unfit("from", NOT_OURS)
    if never := limits.never_texted(settings, pair.phone, pair.bridge_number):
        raise Unfit("to", f"can't be texted: {never}")
    if _channel(pair.phone) != _channel(pair.bridge_number):
        raise Unfit("from", OTHER_CHANNEL)


def _channel(address: str) -> str:
    return address.rpartition(":")[0]


def must_have_words(field: str, text: str) -> None:
    """Raise :class:`Unfit` if the text has no words, or those that stand in place of an encrypted one."""
    if not readable(text):
        raise Unfit(field, EMPTY)
    if text.startswith(CANT):
        raise Unfit(field, NOT_DECRYPTED)


def shaped(rt: Runtime, phone: str, body: str) -> Shaped:
    """Shape the text before its transaction: a long one takes time. Raise :class:`Unfit`."""
    must_have_words("body", body)
    shaped = shape([body], replace(outbox.recipient(rt, phone), smart_encoding=False))
    if shaped.left_out:
        raise Unfit("body", TOO_LONG)
    return shaped


def once(tx: Transaction, asked: Asked, put: Callable[[], Queued]) -> Queued:
    """Do this for a request that is new. Return what it has queued, then or before."""
    if known := idempotency.begin(tx, asked):
        return Queued(**known)
    queued = put()
    idempotency.end(tx, asked, vars(queued))
    return queued


def opened(tx: Transaction, pair: Pair) -> int:
    """Return the conversation of this pair, which is inserted if it is new."""
    row = insert_if_new(tx.session, Conversation).values(**vars(pair), created_at=tx.now)
    tx.session.execute(row.on_conflict_do_nothing())
    return tx.session.scalars(select(Conversation.id).filter_by(**vars(pair))).one()


def put(rt: Runtime, tx: Transaction, asked: Asked, conversation_id: int, shaped: Shaped) -> Queued:
    """Lock the conversation, and put the text behind all that waits in its outbox."""
    conversations.must_be_free(conversations.lock(tx, conversation_id), asked.operator)
    if opt_outs.has_opted_out(tx, conversation_id):
        raise OptedOut
    draft = Draft(shaped, tx.now + rt.settings.answer_within, operator=asked.operator)
    ids = [outbox.add(tx, conversation_id, sms, draft).id for sms in shaped.messages]
    enqueue(tx, DELIVERIES, conversation_id)
    segments = sum(sms.segments for sms in shaped.messages)
    details = {"messages": ids, "segments": segments}
    audit.write(tx, Entry(asked.operator, Action.SEND_TEXT, f"message {ids[0]}", conversation_id, details))
    return Queued(ids[0], conversation_id)
